//! What one connection carries, and how long one token lasts.

use service_runtime::Clock;

use super::*;

#[tokio::test]
async fn a_call_beyond_the_places_is_refused_in_bounded_time_and_places_come_back() {
    let pair = Pair::start().await;
    let mut client = pair.channel();
    // All connections.
    soon(pair.backend.attached.subscribe().wait_for(|count| *count == 8)).await.unwrap();
    let mut answers = Vec::new();
    for _ in 0..2000 {
        answers.push(soon(client.generate(empty::<GenerateRequest>())).await.unwrap());
    }
    let refused = refusal(soon(client.list_models(empty())).await);
    assert_eq!(refused.0, "OVERLOADED");
    answers.pop();
    soon(client.list_models(empty())).await.unwrap();
}

#[tokio::test]
async fn a_token_lives_no_longer_because_the_wall_clock_stands_still() {
    let pair = Pair::start().await;
    let (mut client, old) = (pair.raw(&pair.gateway).await, pair.gateway.tokens().current());
    let mut attached = show(&mut client, &old).await.unwrap();
    let unix = pair.world.clock.unix();
    tokio::time::pause();
    for _ in 0..18 {
        pair.beat(5).await;
        pair.world.clock.set_unix(unix);
        attached.renew(&old);
    }
    assert!(pair.adapter.gate().is_open());
    let ended = async { while attached.answers.message().await.is_ok() {} };
    soon(ended).await;
    let mut again = pair.raw(&pair.gateway).await;
    assert!(refusal(show(&mut again, &old).await).1.contains("expired"));
}
