//! What one connection carries.

use super::*;

#[tokio::test]
async fn a_call_beyond_the_places_is_refused_in_bounded_time_and_places_come_back() {
    let pair = Pair::start().await;
    let mut client = pair.channel();
    // Both connections.
    soon(pair.backend.attached.subscribe().wait_for(|count| *count == 2)).await.unwrap();
    let mut answers = Vec::new();
    for _ in 0..500 {
        answers.push(soon(client.generate(empty::<GenerateRequest>())).await.unwrap());
    }
    let refused = refusal(soon(client.list_models(empty())).await);
    assert_eq!(refused.0, "OVERLOADED");
    answers.pop();
    soon(client.list_models(empty())).await.unwrap();
}
