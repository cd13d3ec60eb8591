use futures_util::{FutureExt, StreamExt};

use super::*;

const NAME: &str = "cube.backend.v1.BackendService";

struct World {
    lease: watch::Sender<bool>,
    stop: CancellationToken,
    health: Health,
}

impl World {
    fn new() -> Self {
        let (lease, stop) = (watch::Sender::new(true), CancellationToken::new());
        let now = lease.clone();
        let serving = Serving::new(move || *now.borrow(), lease.subscribe(), stop.clone());
        Self { lease, stop, health: Health::new(serving, &[NAME]) }
    }

    async fn check(&self, name: &str) -> Result<ServingStatus, Code> {
        let answer = self.health.check(Request::new(about(name))).await;
        answer.map(|answer| answer.get_ref().status()).map_err(|status| status.code())
    }

    async fn watch(&self, name: &str) -> Statuses {
        self.health.watch(Request::new(about(name))).await.unwrap().into_inner()
    }
}

fn about(name: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: name.to_owned() }
}

async fn next(watch: &mut Statuses) -> Option<ServingStatus> {
    watch.next().await.map(|answer| answer.unwrap().status())
}

#[tokio::test]
async fn check_follows_the_state_for_each_known_name() {
    let world = World::new();
    for name in ["", NAME] {
        assert_eq!(world.check(name).await, Ok(ServingStatus::Serving), "{name}");
    }
    world.lease.send_replace(false);
    for name in ["", NAME] {
        assert_eq!(world.check(name).await, Ok(ServingStatus::NotServing), "{name}");
    }
    assert_eq!(world.check("cube.inference.v1.InferenceService").await, Err(Code::NotFound));
}

#[tokio::test]
async fn watch_tells_each_change_once_and_ends_with_the_stop() {
    let world = World::new();
    for name in ["", NAME] {
        let mut watch = world.watch(name).await;
        assert_eq!(next(&mut watch).await, Some(ServingStatus::Serving));
        assert!(next(&mut watch).now_or_never().is_none(), "nothing has changed");
        world.lease.send_replace(false);
        assert_eq!(next(&mut watch).await, Some(ServingStatus::NotServing));
        world.lease.send_replace(true);
        assert_eq!(next(&mut watch).await, Some(ServingStatus::Serving));
    }
    let mut watch = world.watch("").await;
    next(&mut watch).await.unwrap();
    world.stop.cancel();
    assert_eq!(next(&mut watch).await, Some(ServingStatus::NotServing));
    assert_eq!(next(&mut watch).await, None, "a watcher does not hold up the drain");
}

#[tokio::test]
async fn a_name_that_is_not_known_is_watched_as_the_protocol_has_it() {
    let world = World::new();
    let mut watch = world.watch("elsewhere").await;
    assert_eq!(next(&mut watch).await, Some(ServingStatus::ServiceUnknown));
    world.lease.send_replace(false);
    assert!(next(&mut watch).now_or_never().is_none());
}

#[tokio::test]
async fn without_a_lease_to_follow_only_the_stop_changes_anything() {
    let stop = CancellationToken::new();
    let health = Health::new(Serving::until(stop.clone()), &[NAME]);
    let mut watch = health.watch(Request::new(about(NAME))).await.unwrap().into_inner();
    assert_eq!(next(&mut watch).await, Some(ServingStatus::Serving));
    assert!(next(&mut watch).now_or_never().is_none());
    stop.cancel();
    assert_eq!(next(&mut watch).await, Some(ServingStatus::NotServing));
    assert_eq!(next(&mut watch).await, None);
}
