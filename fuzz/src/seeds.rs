//! What the fuzzer starts from.

use std::{env, fs, path::Path};

/// Writes seeds into the first folder that the command line names, which is where libFuzzer looks for its corpus.
pub(crate) fn write(seeds: impl IntoIterator<Item = Vec<u8>>) {
    let Some(folder) = env::args().skip(1).find(|argument| Path::new(argument).is_dir()) else { return };
    for (number, seed) in seeds.into_iter().enumerate() {
        fs::write(Path::new(&folder).join(format!("seed-{number}")), seed).unwrap();
    }
}

/// This file of every captured machine; none where the evidence does not lie beside the project.
pub(crate) fn captured(file: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/evidence");
    let machines = fs::read_dir(folder).into_iter().flatten().flatten();
    machines.filter_map(|machine| fs::read(machine.path().join(file)).ok()).collect()
}
