//! Everything that can be replaced is, while 1,000 streams are open and requests come one after the other.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    process::Command,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use serde_json::Value;
use service_runtime::CancellationToken;
use tokio::time::sleep;

use crate::{
    RUN, ensure,
    load::{Seen, short, streams},
    model_server::ModelServer,
    rig::{Rig, program},
};

const ROTATIONS: usize = 20;
/// Of each kind.
const STREAMS: usize = 500;
/// Of each kind, on one connection.
const EACH: usize = 50;
/// For all streams to open or end, and for a rotation: an old token key goes after 90 s.
const LIMIT: Duration = Duration::from_mins(5);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);
/// Short requests on a connection before the next is made.
const PER_CONNECTION: usize = 25;

pub(crate) async fn run(rig: &mut Rig, server: &ModelServer) {
    let seen = Arc::new(Seen::default());
    streams(rig, STREAMS, EACH, &seen).await;
    let opened = until(|| seen.open.load(Ordering::SeqCst) == 2 * STREAMS || seen.failed() > 0).await;
    RUN.case("1000-streams-are-open", opened.and_then(|()| unbroken(&seen)));

    let stop = CancellationToken::new();
    let admin = Admin::of(rig);
    let requests = requests(rig, &seen, &stop);
    let rotations = async {
        for what in ["svids", "ca", "token-key"] {
            let began = Instant::now();
            let outcome = rotations(&admin, what).await.and_then(|()| unbroken(&seen));
            eprintln!("{ROTATIONS} rotations of {what}: {:.1} s", began.elapsed().as_secs_f64());
            RUN.case(&format!("{what}-{ROTATIONS}-times"), outcome);
        }
        stop.cancel();
    };
    tokio::join!(requests, rotations);
    server.end_answers();
    let ended = until(|| seen.whole.load(Ordering::SeqCst) + seen.failed() >= 2 * STREAMS).await;
    let whole = seen.whole.load(Ordering::SeqCst);
    let all =
        ensure(whole == 2 * STREAMS, || format!("{whole} of {} streams came to their end", 2 * STREAMS));
    RUN.case("1000-streams-end-well", ended.and(all).and_then(|()| unbroken(&seen)));
    let asked = seen.requests.load(Ordering::SeqCst);
    eprintln!("{asked} requests meanwhile, {} failures", seen.failed());
    RUN.case(
        "requests-meanwhile",
        ensure(asked >= 3 * ROTATIONS, || format!("only {asked}")).and_then(|()| unbroken(&seen)),
    );
}

/// One after the other, on connections old and new.
async fn requests(rig: &Rig, seen: &Seen, stop: &CancellationToken) {
    while !stop.is_cancelled() {
        let channel = rig.channel().await;
        for _ in 0..PER_CONNECTION {
            if let Err(error) = short(channel.clone(), seen).await {
                seen.failures.lock().unwrap().push(error);
            }
            sleep(LOOK).await;
        }
    }
}

fn unbroken(seen: &Seen) -> Result<(), String> {
    let failures = seen.failures.lock().unwrap();
    let first = failures.first().cloned().unwrap_or_default();
    ensure(failures.is_empty(), || format!("{} failures, the first: {first}", failures.len()))
}

async fn until(holds: impl Fn() -> bool) -> Result<(), String> {
    let began = Instant::now();
    while !holds() {
        ensure(began.elapsed() < LIMIT, || format!("not within {LIMIT:?}"))?;
        sleep(LOOK).await;
    }
    Ok(())
}

async fn rotations(admin: &Admin, what: &str) -> Result<(), String> {
    for _ in 0..ROTATIONS {
        let before = admin.signs(what).await?;
        let began = Instant::now();
        while let Err(refused) = admin.order(&["rotate", what, "--reason", "conformance"]).await {
            // Old token keys are bounded, and go after 90 s.
            ensure(refused.contains("ROTATION_UNDER_WAY") && began.elapsed() < LIMIT, || refused)?;
            sleep(LOOK).await;
        }
        loop {
            let now = admin.signs(what).await?;
            if now.len() == before.len() && now.is_disjoint(&before) {
                break;
            }
            ensure(began.elapsed() < LIMIT, || format!("{what} is not rotated: {before:?}, {now:?}"))?;
            sleep(LOOK).await;
        }
    }
    Ok(())
}

/// `cube admin`.
pub(crate) struct Admin {
    cube: PathBuf,
    socket: PathBuf,
}

impl Admin {
    pub(crate) fn of(rig: &Rig) -> Self {
        Self { cube: program("cube"), socket: rig.files().run_dir().join("admin.sock") }
    }

    async fn order(&self, order: &[&str]) -> Result<Value, String> {
        let mut cube = Command::new(&self.cube);
        cube.arg("admin").args(order).arg("--json").arg("--socket").arg(&self.socket);
        let output = tokio::task::spawn_blocking(move || cube.output()).await.unwrap().unwrap();
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())
    }

    /// What identifies that which signs, or was signed: serial numbers, or the key in force.
    async fn signs(&self, what: &str) -> Result<BTreeSet<String>, String> {
        let state = self.order(&["state"]).await?;
        let list = |name| state.get(name).and_then(Value::as_array).into_iter().flatten();
        let text = |value: &Value, path| value.pointer(path).and_then(Value::as_str).map(str::to_owned);
        let found: BTreeSet<String> = if what == "svids" {
            list("identities").filter_map(|identity| text(identity, "/holder/svid_serial")).collect()
        } else {
            let is = |key: &&Value, path, word| text(key, path).as_deref() == Some(word);
            let signing = list("keys").filter(|key| is(key, "/key", what) && is(key, "/phase", "in-force"));
            signing.filter_map(|key| text(key, "/sha256")).collect()
        };
        Ok(found)
    }
}
