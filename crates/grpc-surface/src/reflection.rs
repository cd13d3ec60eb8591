//! grpc.reflection v1 and v1alpha, of exactly what one listener serves.

use std::collections::{BTreeMap, BTreeSet};

use prost::{DecodeError, Message};
use prost_types::{FileDescriptorProto, FileDescriptorSet};
use tonic_reflection::server::{
    Builder, Error,
    v1::{ServerReflection, ServerReflectionServer},
    v1alpha::{
        ServerReflection as ServerReflectionAlpha, ServerReflectionServer as ServerReflectionServerAlpha,
    },
};

use crate::surface::MAX_QUESTION;

/// Both versions, telling the same: older clients ask v1alpha alone.
pub(crate) fn servers(
    services: &[&str],
) -> Result<
    (ServerReflectionServer<impl ServerReflection>, ServerReflectionServerAlpha<impl ServerReflectionAlpha>),
    Error,
> {
    let described = describing(services)?;
    let builder = || {
        let described = Builder::configure().register_file_descriptor_set(described.clone());
        // It is in the set like every other service.
        let described = described.include_reflection_service(false);
        services.iter().copied().fold(described, Builder::with_service_name)
    };
    let (v1, v1alpha) = (builder().build_v1()?, builder().build_v1alpha()?);
    Ok((v1.max_decoding_message_size(MAX_QUESTION), v1alpha.max_decoding_message_size(MAX_QUESTION)))
}

/// `/package.Service/Method` for each method of `services`.
pub(crate) fn methods_of(services: &[&str]) -> BTreeSet<String> {
    let described = describing(services).unwrap_or_default();
    described.file.iter().flat_map(proto::method_paths).collect()
}

/// The files that describe `services` and the details of refusals, and all that these import; without the
/// services that are not among them: a file may describe what another listener serves.
fn describing(services: &[&str]) -> Result<FileDescriptorSet, DecodeError> {
    let mut files = every_file()?;
    for file in files.values_mut() {
        keep_services(file, services);
    }
    let served = files.values().filter(|file| !file.service.is_empty());
    let mut todo: Vec<_> = served.map(|file| file.name().to_owned()).collect();
    todo.push(proto::ERROR_DETAILS.to_owned());
    let mut wanted = Vec::new();
    while let Some(name) = todo.pop() {
        // Taken already where another one imports it too.
        if let Some(file) = files.remove(&name) {
            todo.extend(file.dependency.iter().cloned());
            wanted.push(file);
        }
    }
    Ok(FileDescriptorSet { file: wanted })
}

/// Cube's own, and those of the services that every listener has.
fn every_file() -> Result<BTreeMap<String, FileDescriptorProto>, DecodeError> {
    let sets = [
        proto::FILE_DESCRIPTOR_SET,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    ];
    let mut files = BTreeMap::new();
    for set in sets {
        let set = FileDescriptorSet::decode(set)?;
        files.extend(set.file.into_iter().map(|file| (file.name().to_owned(), file)));
    }
    Ok(files)
}

/// `FileDescriptorProto.service`, as the first part of a location's path.
const SERVICE: i32 = 6;

/// Drops every service but `kept` from `file`, with its comments.
fn keep_services(file: &mut FileDescriptorProto, kept: &[&str]) {
    let package = file.package().to_owned();
    let keeps = |name: &str| kept.contains(&format!("{package}.{name}").as_str());
    // Old place to new place.
    let old = (0..).zip(&file.service).filter(|(_, service)| keeps(service.name())).map(|(old, _)| old);
    let places: BTreeMap<i32, i32> = old.zip(0..).collect();
    file.service.retain(|service| keeps(service.name()));
    if let Some(info) = &mut file.source_code_info {
        info.location.retain_mut(|location| match location.path.as_mut_slice() {
            [SERVICE, at, ..] => places.get(at).map(|new| *at = *new).is_some(),
            _ => true,
        });
    }
}

#[cfg(test)]
mod tests;
