//! Generates `src/generated` from the .proto files: `cargo xtask codegen`.
//!
//! An example, because examples see dev-dependencies: the code generator never
//! reaches a build of the services. protox is a compiler in Rust, so no protoc.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

fn main() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let committed = root.join("src/generated");
    if std::env::args().any(|argument| argument == "--check") {
        let fresh = tempfile::tempdir()?;
        generate(root, fresh.path())?;
        return compare(fresh.path(), &committed);
    }
    generate(root, &committed)
}

fn generate(root: &Path, out: &Path) -> Result<()> {
    let descriptors = protox::compile(proto_files(root)?, [root])?;
    std::fs::write(out.join("descriptors.bin"), prost::Message::encode_to_vec(&descriptors))?;
    tonic_prost_build::configure().bytes(".").out_dir(out).compile_fds(descriptors)?;
    Ok(())
}

fn proto_files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for package in ["attestation", "backend", "inference"] {
        for entry in std::fs::read_dir(root.join("cube").join(package).join("v1"))? {
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
