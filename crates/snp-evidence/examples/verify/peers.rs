//! Other verifiers on the same bytes, and whole processes.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use crate::{NOW, Outcome, WARM_UP, median, micros, middle};

pub(crate) const SEV_OPENSSL: &str = "crate sev 8, OpenSSL";
pub(crate) const SEV_NOSSL: &str = "crate sev 8, without OpenSSL";
pub(crate) const CUBE: &str = "process: cube verify --report";
pub(crate) const SNPGUEST_CHAIN: &str = "process: snpguest verify certs";
pub(crate) const SNPGUEST_REPORT: &str = "process: snpguest verify attestation";

/// Processes run in one of so many rounds.
const EVERY: usize = 10;

/// A program to measure, as the command line names it.
pub(crate) struct Program {
    name: String,
    path: String,
}

impl Program {
    pub(crate) fn parse(text: &str) -> Outcome<Self> {
        let (name, path) = text.split_once('=').ok_or_else(|| format!("{text:?} is not NAME=PROGRAM"))?;
        Ok(Self { name: name.to_owned(), path: path.to_owned() })
    }
}

/// All of them, with the times that they took.
#[derive(Default)]
pub(crate) struct Peers {
    libraries: Vec<(Library, Vec<f64>)>,
    processes: Vec<(Process, Vec<f64>)>,
}

impl Peers {
    pub(crate) fn start(programs: &[Program], folder: &Path) -> Outcome<Self> {
        let mut peers = Self::default();
        for Program { name, path } in programs {
            match name.as_str() {
                "sev-openssl" => peers.library(Library::start(SEV_OPENSSL, path, folder)?),
                "sev-nossl" => peers.library(Library::start(SEV_NOSSL, path, folder)?),
                "cube" => peers.process(cube(path, folder)),
                "snpguest" => snpguest(path, folder).into_iter().for_each(|process| peers.process(process)),
                _ => return Err(format!("no program {name:?} is known").into()),
            }
        }
        Ok(peers)
    }

    fn library(&mut self, library: Library) {
        self.libraries.push((library, Vec::new()));
    }

    fn process(&mut self, process: Process) {
        self.processes.push((process, Vec::new()));
    }

    /// Each library once, and now and then each process.
    pub(crate) fn run(&mut self, round: usize) -> Outcome<()> {
        for (library, times) in &mut self.libraries {
            times.push(library.micros()?);
        }
        for (process, times) in
            self.processes.iter_mut().filter(|_| round >= WARM_UP && round.is_multiple_of(EVERY))
        {
            times.push(micros(|| process.run())?);
        }
        Ok(())
    }

    pub(crate) fn medians(self) -> impl Iterator<Item = (&'static str, f64)> {
        let libraries = self.libraries.into_iter().map(|(library, times)| (library.name, median(times)));
        let processes = self.processes.into_iter().map(|(process, times)| (process.name, middle(times)));
        libraries.chain(processes)
    }
}

/// A verifier in a process of its own that judges for each line it is sent, and says how long that took it.
struct Library {
    name: &'static str,
    child: Child,
    ask: ChildStdin,
    told: BufReader<ChildStdout>,
}

impl Library {
    fn start(name: &'static str, program: &str, folder: &Path) -> Outcome<Self> {
        let mut command = Command::new(program);
        command.arg("time").arg(folder).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let ask = child.stdin.take().ok_or("no stdin")?;
        let told = BufReader::new(child.stdout.take().ok_or("no stdout")?);
        Ok(Self { name, child, ask, told })
    }

    fn micros(&mut self) -> Outcome<f64> {
        self.ask.write_all(b"\n")?;
        let mut line = String::new();
        self.told.read_line(&mut line)?;
        Ok(line.trim().parse().map_err(|_| format!("{} judged nothing: {line:?}", self.name))?)
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

struct Process {
    name: &'static str,
    program: String,
    arguments: Vec<String>,
}

impl Process {
    fn run(&self) -> Outcome<()> {
        let mut command = Command::new(&self.program);
        let output = command.args(&self.arguments).stdin(Stdio::null()).output()?;
        if !output.status.success() {
            let words = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
            return Err(format!("{} ended with {}: {words}", self.name, output.status).into());
        }
        Ok(())
    }
}

fn cube(program: &str, folder: &Path) -> Process {
    let file = |name: &str| folder.join(name).display().to_string();
    let mut arguments = vec!["verify".to_owned(), "--json".to_owned()];
    for (option, value) in [
        ("--report", file("report.bin")),
        ("--certs", folder.display().to_string()),
        ("--policy", file("policy.toml")),
        ("--allow-simulated", file("root.pem")),
        ("--at", NOW.to_string()),
    ] {
        arguments.extend([option.to_owned(), value]);
    }
    Process { name: CUBE, program: program.to_owned(), arguments }
}

/// It verifies chain and report by one command each.
fn snpguest(program: &str, folder: &Path) -> [Process; 2] {
    let (folder, report) = (folder.display().to_string(), folder.join("report.bin").display().to_string());
    let process = |name, arguments: &[&str]| Process {
        name,
        program: program.to_owned(),
        arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
    };
    [
        process(SNPGUEST_CHAIN, &["verify", "certs", &folder]),
        process(SNPGUEST_REPORT, &["verify", "attestation", &folder, &report]),
    ]
}
