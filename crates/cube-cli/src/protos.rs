//! `cube protos`.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use crate::{args::ProtosArgs, failure::Failure, table};

/// Name of the descriptor set.
const DESCRIPTOR_SET: &str = "cube.binpb";

/// Writes every file or, where one of them would be lost, none.
pub(crate) fn run(args: &ProtosArgs) -> Result<u8, Failure> {
    let files: Vec<_> = files().map(|(name, bytes)| (args.out.join(name), bytes)).collect();
    if !args.force {
        refuse_to_replace(&files)?;
    }
    for (path, bytes) in files {
        write(&path, bytes).map_err(|error| Failure::file("write", &path, &error))?;
        writeln!(table::stdout(), "{}", path.display())?;
    }
    Ok(0)
}

/// The .proto files, each in the folder of its package; and what they compile to, with comments, and with the
/// details that statuses carry.
fn files() -> impl Iterator<Item = (&'static str, &'static [u8])> {
    let texts = proto::FILES.iter().map(|(name, text)| (*name, text.as_bytes()));
    texts.chain([(DESCRIPTOR_SET, proto::CUBE_DESCRIPTOR_SET)])
}

/// A file with other content than ours may be somebody's work, or another version's.
fn refuse_to_replace(files: &[(PathBuf, &[u8])]) -> Result<(), Failure> {
    let mut others = Vec::new();
    for (path, bytes) in files {
        match fs::read(path) {
            Ok(there) if there == *bytes => {}
            Ok(_) => others.push(path.display().to_string()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Failure::file("read", path, &error)),
        }
    }
    if others.is_empty() {
        return Ok(());
    }
    Err(Failure::Usage(format!(
        "nothing was written, because these files are there with other content: {}; choose another folder, or \
         replace them with --force",
        others.join(", ")
    )))
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, bytes)
}
