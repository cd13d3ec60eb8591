//! The processes, each as its own user, and what they say (sd_notify(3)).

use std::{
    convert::Infallible,
    fs::{self, DirBuilder, Permissions},
    io,
    os::unix::{
        fs::{DirBuilderExt, PermissionsExt, chown},
        net::UnixDatagram,
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc::{SyncSender, sync_channel},
    thread::{self, sleep},
    time::Duration,
};

use crate::{
    Doing, Stop,
    cmdline::Network,
    config::{Config, Service},
    halt, network, say,
};

/// Between the end of a process and its next start.
const PAUSE: Duration = Duration::from_secs(1);
/// A socket for each, which its user alone can write to.
const TOLD: &str = "/run/init";

/// Starts all of them, and keeps them going; opens the network once.
pub(crate) fn run(config: Config, outside: Option<Network>) -> Result<Infallible, Stop> {
    DirBuilder::new().mode(0o711).create(TOLD).doing(TOLD)?;
    let (serving, served) = sync_channel(1);
    for service in config.service {
        prepare(&service)?;
        let told = listen(&service)?;
        let (name, serving) = (service.name.clone(), service.opens_network.then(|| serving.clone()));
        thread::spawn(move || hear(&name, &told, serving.as_ref()));
        thread::spawn(move || keep(&service));
    }
    drop(serving);
    if served.recv().is_ok()
        && let Some(outside) = outside
    {
        network::open(&outside)?;
    }
    loop {
        thread::park();
    }
}

fn prepare(service: &Service) -> Result<(), Stop> {
    for folder in &service.folders {
        let made = DirBuilder::new().mode(0o711).recursive(true).create(folder);
        made.and_then(|()| chown(folder, Some(service.uid), Some(service.uid)))
            .doing(folder.display().to_string())?;
    }
    for device in service.devices.iter().filter(|device| device.exists()) {
        let given = chown(device, Some(service.uid), Some(service.uid));
        given
            .and_then(|()| fs::set_permissions(device, Permissions::from_mode(0o600)))
            .doing(device.display().to_string())?;
    }
    Ok(())
}

fn place(service: &Service) -> PathBuf {
    Path::new(TOLD).join(&service.name)
}

fn listen(service: &Service) -> Result<UnixDatagram, Stop> {
    let path = place(service);
    let bound = || -> io::Result<UnixDatagram> {
        let socket = UnixDatagram::bind(&path)?;
        fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        chown(&path, Some(service.uid), Some(service.uid))?;
        Ok(socket)
    };
    bound().doing(path.display().to_string())
}

/// Tells the console, and whoever waits, that a service serves.
fn hear(name: &str, told: &UnixDatagram, serving: Option<&SyncSender<()>>) {
    let mut buffer = [0; 256];
    while let Ok(length) = told.recv(&mut buffer) {
        let said = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).into_owned();
        if said.lines().any(|line| line == "READY=1") {
            say(&format!("{name} serves"));
            if let Some(serving) = serving {
                // It is heard once; whatever starts later finds the network there.
                open(serving);
            }
        }
    }
}

/// Whether or not somebody still waits for it.
fn open(serving: &SyncSender<()>) {
    if serving.try_send(()).is_err() {
        say("it had served before");
    }
}

/// Starts the process again whenever it ends, unless it can never serve here.
fn keep(service: &Service) {
    loop {
        match start(service) {
            Ok(ended) => {
                say(&format!("{} ended with {ended}", service.name));
                if ended.code().is_some_and(|code| service.fatal.contains(&code)) {
                    halt(&format!("{} can never serve here", service.name));
                }
            }
            Err(error) => say(&format!("{} cannot be started: {error}", service.name)),
        }
        sleep(PAUSE);
    }
}

fn start(service: &Service) -> io::Result<std::process::ExitStatus> {
    let (program, arguments) = service.command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let environment = service.environment.iter().filter_map(|pair| pair.split_once('='));
    Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(environment)
        .env("NOTIFY_SOCKET", place(service))
        .current_dir("/")
        .uid(service.uid)
        .gid(service.uid)
        .stdin(Stdio::null())
        .spawn()?
        .wait()
}
