use super::*;

const EVIDENCE: &str = "cube.attestation.v1.EvidenceService";
const BACKEND: &str = "cube.backend.v1.BackendService";

fn described(services: &[&str]) -> Vec<FileDescriptorProto> {
    describing(services).unwrap().file
}

fn services(files: &[FileDescriptorProto]) -> Vec<String> {
    let names = files.iter().flat_map(|file| {
        file.service.iter().map(move |service| format!("{}.{}", file.package(), service.name()))
    });
    names.collect()
}

#[test]
fn exactly_the_given_services_are_described_with_all_that_their_files_import() {
    let files = described(&[BACKEND]);
    assert_eq!(services(&files), [BACKEND]);
    let names: BTreeSet<_> = files.iter().map(FileDescriptorProto::name).collect();
    let wanted = [
        "cube/backend/v1/backend.proto",
        "cube/inference/v1/chat.proto",
        "cube/inference/v1/inference.proto",
        "google/protobuf/duration.proto",
        "google/rpc/error_details.proto",
    ];
    assert_eq!(names, wanted.into_iter().collect());
    for file in &files {
        assert!(file.dependency.iter().all(|name| names.contains(name.as_str())), "{}", file.name());
    }
}

#[test]
fn a_service_that_is_left_keeps_its_own_comments() {
    // It is the second of its file, and becomes the first.
    let files = described(&[EVIDENCE]);
    assert_eq!(services(&files), [EVIDENCE]);
    let file = files.iter().find(|file| !file.service.is_empty()).unwrap();
    let info = file.source_code_info.as_ref().unwrap();
    let comment = |path: &[i32]| {
        let location = info.location.iter().find(|location| location.path == path).unwrap();
        location.leading_comments().trim().to_owned()
    };
    assert!(comment(&[SERVICE, 0]).starts_with("Evidence for Cube's own gateway."));
    assert_eq!(comment(&[SERVICE, 0, 2, 2]), "The current key manifest.");
    assert!(!info.location.iter().any(|location| matches!(location.path[..], [SERVICE, 1, ..])));
}

#[test]
fn methods_are_those_of_the_given_services_alone() {
    let collects = ["CollectEvidence", "CollectCachedEvidence", "CollectKeyManifest"]
        .map(|name| format!("/{EVIDENCE}/{name}"));
    assert_eq!(methods_of(&[EVIDENCE]), collects.into_iter().collect());
    assert!(methods_of(&["cube.elsewhere.v1.Nothing"]).is_empty());
}
