//! Which systemd unit the process at the other end of a unix socket belongs to.
//!
//! The kernel hands out a reference to that very process (SO_PEERPIDFD, Linux 6.5), so that another
//! process with its number is never taken for it: while the reference has the number, nobody else has.

use std::{
    fs,
    io::{self, ErrorKind},
    os::fd::{AsFd, AsRawFd, OwnedFd},
};

use nix::sys::socket::{getsockopt, sockopt::PeerPidfd};

/// The unit of the process that connected `socket`; `None` where it belongs to none, or has ended.
pub(crate) fn unit_of(socket: &impl AsFd) -> io::Result<Option<String>> {
    unit_of_process(&getsockopt(socket, PeerPidfd)?)
}

fn unit_of_process(process: &OwnedFd) -> io::Result<Option<String>> {
    let Some(number) = number_of(process)? else { return Ok(None) };
    let cgroups = match fs::read_to_string(format!("/proc/{number}/cgroup")) {
        Err(gone) if gone.kind() == ErrorKind::NotFound => return Ok(None),
        read => read?,
    };
    // Only what was read before the process ended is known to be its own.
    Ok(number_of(process)?.and_then(|_| unit_in(&cgroups)))
}

/// Its number (proc_pid_fdinfo(5)); `None` once it has ended.
fn number_of(process: &OwnedFd) -> io::Result<Option<u32>> {
    let facts = fs::read_to_string(format!("/proc/self/fdinfo/{}", process.as_raw_fd()))?;
    let number = facts.lines().find_map(|line| line.strip_prefix("Pid:")).map(str::trim);
    let number = number.ok_or_else(|| io::Error::other("the kernel tells no number of a process"))?;
    Ok(number.parse().ok())
}

/// The system manager's unit in `/proc/PID/cgroup`: below its slices in the unified hierarchy. What a service
/// makes below itself, such as the units of a user's own manager, is that service.
fn unit_in(cgroups: &str) -> Option<String> {
    let path = cgroups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let unit = path.split('/').find(|part| part.strip_suffix(".slice").is_none())?;
    unit.ends_with(".service").then(|| unit.to_owned())
}

#[cfg(test)]
mod tests {
    use std::{
        env,
        os::unix::net::{UnixListener, UnixStream},
        process::{Command, id},
    };

    use super::*;

    #[test]
    fn a_unit_is_what_the_system_manager_calls_so() {
        let unit = |path: &str| unit_in(&format!("5:devices:/x.service\n0::{path}\n"));
        let gateway = "inference-gateway.service";
        assert_eq!(unit(&format!("/system.slice/{gateway}")).as_deref(), Some(gateway));
        assert_eq!(unit("/cube.slice/cube-a.slice/b.service/c").as_deref(), Some("b.service"));
        let of_a_user = unit(&format!("/user.slice/user-1000.slice/user@1000.service/app.slice/{gateway}"));
        assert_eq!(of_a_user.as_deref(), Some("user@1000.service"));
        for none in ["/", "/system.slice", "/init.scope", "/user.slice/session-1.scope", "/a/b.service"] {
            assert_eq!(unit(none), None, "{none}");
        }
        assert_eq!(
            unit_in("1:name=systemd:/system.slice/a.service\n"),
            None,
            "the unified hierarchy alone counts"
        );
    }

    #[test]
    fn the_kernel_refers_to_the_process_that_connected() {
        let (socket, _other) = UnixStream::pair().unwrap();
        let process = getsockopt(&socket, PeerPidfd).unwrap();
        assert_eq!(number_of(&process).unwrap(), Some(id()));
    }

    /// Whoever gets its number next is not taken for it.
    #[test]
    fn a_process_that_has_ended_has_no_number_and_no_unit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let itself = ["--exact", "unit::tests::connects_and_ends", "--ignored"];
        let mut child =
            Command::new(env::current_exe().unwrap()).args(itself).env(SOCKET, &path).spawn().unwrap();
        assert!(child.wait().unwrap().success());
        let (socket, _) = listener.accept().unwrap();
        let process = getsockopt(&socket, PeerPidfd).unwrap();
        assert_eq!((number_of(&process).unwrap(), unit_of(&socket).unwrap()), (None, None));
    }

    const SOCKET: &str = "SOCKET_OF_THE_TEST";

    #[test]
    #[ignore = "the other process of the test before"]
    fn connects_and_ends() {
        drop(UnixStream::connect(env::var_os(SOCKET).unwrap()).unwrap());
    }
}
