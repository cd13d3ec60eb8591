//! Exit code 5: what the operator reads of a device that gives no report, once and in one line.

use std::fmt::Debug;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use service_runtime::{CancellationToken, Exit};
use snp_platform::PlatformError;
use tokio::time::advance;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::world::World;

type Fault = fn() -> PlatformError;

/// As the manual names it.
const PLACE: &str = "PATH";
const ERRORS: &str = include_str!("../../../docs/errors.md");

#[tokio::test(start_paused = true)]
async fn each_way_to_give_no_report_is_one_line() {
    let faults: [(Fault, &str); 7] = [
        (
            || PlatformError::Absent { place: PLACE.to_owned() },
            "no SEV-SNP device at PATH: run in an SEV-SNP guest whose kernel has CONFIG_SEV_GUEST and configfs mounted",
        ),
        (
            || PlatformError::PermissionDenied { place: PLACE.to_owned() },
            "PATH refuses access: let attestation-svc's user read /dev/sev-guest, or run it with CAP_DAC_OVERRIDE for \
             configfs",
        ),
        (
            || PlatformError::VmpckDisabled { place: PLACE.to_owned(), reason: "REASON" },
            "the guest driver behind PATH has disabled its key (VMPCK), REASON: restart the CVM",
        ),
        (
            || PlatformError::Malformed("PATH holds 0 bytes where a report has 1184".to_owned()),
            "PATH holds 0 bytes where a report has 1184: check the guest kernel and the host's firmware",
        ),
        (
            || PlatformError::OtherReportData { place: PLACE.to_owned() },
            "PATH answered with a report over other data than was asked for: stop whatever else asks for reports; where \
             nothing does, do not trust this machine",
        ),
        (
            || PlatformError::Firmware { place: PLACE.to_owned(), reason: "REASON".to_owned() },
            "the firmware behind PATH refused a report (REASON): look into the kernel log of guest and host",
        ),
        (
            || {
                let source = io::Error::other("REASON");
                PlatformError::Io { place: PLACE.to_owned(), operation: "read", source }
            },
            "cannot read PATH (REASON): look into the kernel log",
        ),
    ];
    for (fault, line) in faults {
        let mut world = World::new();
        world.device.fault = Some(fault);
        assert_line(&world, line).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_device_that_stays_busy_or_throttled_is_told_with_its_last_answer() {
    let faults: [(Fault, &str); 2] = [
        (
            || PlatformError::Busy { place: PLACE.to_owned() },
            "the secure processor gave no report within 60s; at the last try, PATH is being changed by another process: \
             only attestation-svc may ask for reports, stop the other one",
        ),
        (
            || PlatformError::Throttled { place: PLACE.to_owned() },
            "the secure processor gave no report within 60s; at the last try, the host throttles report requests at \
             PATH: retry in some seconds, or ask for fewer reports",
        ),
    ];
    for (fault, line) in faults {
        let mut world = World::new();
        world.device.fault = Some(fault);
        assert_line(&world, line).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_device_that_hangs_ends_the_start() {
    let world = World::new();
    let held = world.device.hold();
    let line = "the secure processor gave no report within 60s: the host may hold it up; look into the kernel log of \
                guest and host";
    tokio::join!(assert_line(&world, line), async {
        world.device.called.notified().await;
        advance(BOOT).await;
    });
    drop(held);
}

#[tokio::test]
async fn a_device_that_hangs_does_not_hold_up_a_stop() {
    let world = World::new();
    let held = world.device.hold();
    let shutdown = CancellationToken::new();
    let (exit, ()) = tokio::join!(world.exit_of(world.config(), shutdown.clone()), async {
        world.device.called.notified().await;
        shutdown.cancel();
    });
    assert_eq!(exit, Exit::Clean);
    drop(held);
}

/// In place of the default, which is longer than tests have patience.
const BOOT: Duration = Duration::from_secs(20);

/// That the start ends with exit code 5 and `line`, the way `docs/errors.md` has it.
async fn assert_line(world: &World, line: &str) {
    let log = Log::default();
    let told = tracing::subscriber::set_default(log.clone());
    let mut config = world.config();
    config.reports.boot = BOOT;
    assert_eq!(world.exit_of(config, CancellationToken::new()).await, Exit::NoTee);
    drop(told);
    let lines: Vec<_> = log.0.lock().unwrap().iter().map(|line| line.replace("20s", "60s")).collect();
    assert_eq!(lines, [format!("exit=5 reason=no evidence can be had: {line} message=not starting")]);
    assert!(ERRORS.contains(&format!("| `{line}` |")), "docs/errors.md lacks: {line}");
    assert!(!world.socket("gateway").exists(), "no socket");
}

/// The errors that were logged.
#[derive(Debug, Default, Clone)]
struct Log(Arc<Mutex<Vec<String>>>);

struct Line(Vec<String>);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.push(format!("{field}={value:?}"));
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::ERROR
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(vec![]);
        event.record(&mut line);
        // The message is the first field, and here the last word.
        line.0.sort_by_key(|field| field.starts_with("message="));
        self.0.lock().unwrap().push(line.0.join(" "));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
