//! `cube protos`: what it writes compiles, and what is there stays there.

use std::{collections::BTreeMap, fs, path::Path};

use prost::Message;
use prost_types::FileDescriptorSet;

use crate::tool::{Run, cube};

async fn protos(folder: &Path, more: &[&str]) -> Run {
    cube(&[&["protos", "--out", folder.to_str().unwrap()], more].concat()).await
}

#[tokio::test]
async fn what_it_writes_compiles_to_the_descriptor_set_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("new/protos");
    let run = protos(&out, &[]).await;
    assert_eq!(run.code, 0, "{}", run.stderr);
    let written: Vec<_> = run.stdout.lines().map(Path::new).collect();
    assert!(written.iter().all(|path| path.is_file()) && written.len() == proto::FILES.len() + 1);

    let sources = written.iter().filter(|path| path.extension().unwrap() == "proto");
    let compiled = protox::compile(sources, [&out]).unwrap();
    let set = fs::read(out.join("cube.binpb")).unwrap();
    let set = FileDescriptorSet::decode(set.as_slice()).unwrap();
    let files = |set: FileDescriptorSet| -> BTreeMap<_, _> {
        set.file.into_iter().map(|file| (file.name().to_owned(), file)).collect()
    };
    let (compiled, mut set) = (files(compiled), files(set));
    // What refusals carry is described besides, for tools that show it.
    assert!(set.remove("google/rpc/error_details.proto").is_some());
    assert!(set.remove("google/protobuf/duration.proto").is_some());
    assert_eq!(compiled, set);
    assert!(set.values().all(|file| file.source_code_info.is_some()), "comments are in it");
}

#[tokio::test]
async fn a_file_with_other_content_stops_it_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let (other, set) = (folder.path().join("cube/inference/v1/chat.proto"), folder.path().join("cube.binpb"));
    fs::create_dir_all(other.parent().unwrap()).unwrap();
    fs::write(&other, "mine").unwrap();
    fs::write(folder.path().join("unrelated.txt"), "mine").unwrap();
    let run = protos(folder.path(), &[]).await;
    assert_eq!(run.code, 2);
    assert!(run.stderr.contains(other.to_str().unwrap()) && run.stderr.contains("--force"), "{}", run.stderr);
    assert!(!run.stderr.contains("unrelated.txt") && run.stdout.is_empty());
    assert!(!set.exists() && fs::read_to_string(&other).unwrap() == "mine");

    assert_eq!(protos(folder.path(), &["--force"]).await.code, 0);
    assert!(set.exists() && fs::read_to_string(&other).unwrap().contains("message ChatSpec"));
    assert_eq!(fs::read_to_string(folder.path().join("unrelated.txt")).unwrap(), "mine");
    assert_eq!(protos(folder.path(), &[]).await.code, 0, "what it wrote itself is no obstacle");
}

#[tokio::test]
async fn a_folder_that_cannot_be_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let run = protos(&file, &[]).await;
    assert_eq!(run.code, 2);
    assert!(run.stderr.contains(file.to_str().unwrap()), "{}", run.stderr);
}
