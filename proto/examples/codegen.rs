//! Generates `src/generated` from the .proto files: `cargo xtask codegen`; with `--baseline` also
//! `baseline.binpb`, the interface that later ones must not break.
//!
//! An example, because examples see dev-dependencies: the code generator never
//! reaches a build of the services. protox is a compiler in Rust, so no protoc.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use prost::Message;
use prost_types::{FileDescriptorProto, FileDescriptorSet};

fn main() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let committed = root.join("src/generated");
    let descriptors = protox::compile(proto_files(root)?, [root])?;
    match std::env::args().nth(1).as_deref() {
        None => generate(descriptors, &committed),
        Some("--check") => {
            let fresh = tempfile::tempdir()?;
            generate(descriptors, fresh.path())?;
            compare(fresh.path(), &committed)
        }
        Some("--baseline") => {
            write_baseline(descriptors.clone(), &root.join("baseline.binpb"))?;
            generate(descriptors, &committed)
        }
        Some(other) => bail!("no argument {other}; there are --check and --baseline"),
    }
}

fn generate(descriptors: FileDescriptorSet, out: &Path) -> Result<()> {
    let (details, all) = (error_details()?, descriptors.file.clone());
    let own = all.iter().filter(|file| file.name().starts_with("cube/")).cloned().collect();
    for (name, files) in [("descriptors.bin", all), ("cube.bin", own)] {
        let file = [files, details.clone()].concat();
        std::fs::write(out.join(name), FileDescriptorSet { file }.encode_to_vec())?;
    }
    std::fs::write(out.join("files.rs"), list_of_files(&descriptors))?;
    let codec = "crate::codec::EventCodec";
    tonic_prost_build::configure().bytes(".").codec_path(codec).out_dir(out).compile_fds(descriptors)?;
    Ok(())
}

/// What statuses carry (`google.rpc.ErrorInfo`), and what that imports: no file of ours imports it, but tools
/// can show it only where they have it. tonic-types leaves the folder out of the name.
fn error_details() -> Result<Vec<FileDescriptorProto>> {
    let mut files = FileDescriptorSet::decode(tonic_types::pb::FILE_DESCRIPTOR_SET)?.file;
    files.retain(|file| ["error_details.proto", "google/protobuf/duration.proto"].contains(&file.name()));
    ensure!(files.len() == 2, "tonic-types describes other files than it did");
    for file in files.iter_mut().filter(|file| file.package() == "google.rpc") {
        file.name = Some(proto::ERROR_DETAILS.to_owned());
    }
    Ok(files)
}

/// A Rust array of path and text of each file, the text by inclusion.
fn list_of_files(descriptors: &FileDescriptorSet) -> String {
    let own = descriptors.file.iter().map(FileDescriptorProto::name).filter(|path| path.starts_with("cube/"));
    let lines = own.map(|path| format!("    (\"{path}\", include_str!(\"../../{path}\")),\n"));
    let header = "// Made by `cargo xtask codegen`, which needs this crate to compile: where a .proto file is gone, take\n\
                  // its line out by hand first.\n";
    format!("{header}[\n{}]\n", lines.collect::<String>())
}

/// Comments may change, so they are left out.
fn write_baseline(mut descriptors: FileDescriptorSet, path: &Path) -> Result<()> {
    for file in &mut descriptors.file {
        file.source_code_info = None;
    }
    Ok(std::fs::write(path, descriptors.encode_to_vec())?)
}

fn proto_files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let folders = [
        "cube/attestation/v1",
        "cube/backend/v1",
        "cube/inference/v1",
        "envoy/service/auth/v3",
        "envoy/service/secret/v3",
    ];
    for folder in folders {
        for entry in std::fs::read_dir(root.join(folder))? {
            files.push(entry?.path());
        }
    }
    files.sort();
    Ok(files)
}

fn compare(fresh: &Path, committed: &Path) -> Result<()> {
    for entry in std::fs::read_dir(fresh)? {
        let name = entry?.file_name();
        let want = std::fs::read(fresh.join(&name))?;
        let have =
            std::fs::read(committed.join(&name)).with_context(|| format!("{} is missing", name.display()))?;
        ensure!(want == have, "{} is out of step; run `cargo xtask codegen`", name.display());
    }
    Ok(())
}
