//! A revoked peer, seen from the service that is not revoked.

use super::*;

fn revoke_gateway(pair: &Pair) {
    pair.fake.authority.void_before_of(Role::Gateway, 2);
    pair.fake.authority.notice.send_replace(());
}

#[tokio::test]
async fn a_revoked_peer_is_cut_off_at_once_and_its_tokens_stay_void() {
    let pair = Pair::start().await;
    let mut client = pair.raw(&pair.gateway).await;
    let old = pair.gateway.tokens().current();
    let mut attached = show(&mut client, &old).await.unwrap();
    let mut answer = soon(client.generate(empty::<GenerateRequest>())).await.unwrap().into_inner();
    soon(answer.message()).await.unwrap();
    let own = pair.adapter.gate().permit().unwrap();

    revoke_gateway(&pair);
    assert_eq!(refusal(soon(answer.message()).await).0, "PEER_NOT_ATTACHED");
    assert_eq!(refusal(soon(attached.answers.message()).await).0, "PEER_NOT_ATTACHED");
    let refused = refusal(show(&mut client, &old).await);
    assert_eq!(refused.0, "PEER_TOKEN_REFUSED");
    assert!(refused.1.contains("revoked epoch"), "{refused:?}");
    assert!(own.check().is_ok(), "the adapter's own lease is not concerned");
}

#[tokio::test]
async fn a_peer_that_leaves_its_answers_unread_is_cut_off_all_the_same() {
    let pair = Pair::start().await;
    // Less than an answer to `Attach`: the second one waits in the transport, which asks for no third.
    let mut client = pair.raw_taking(&pair.gateway, 64).await;
    let (tokens, queue) = mpsc::channel(1);
    let mut answered = pair.backend.answered.subscribe();
    let health_token = pair.gateway.tokens().current().to_string();
    tokens.send(AttachRequest { health_token: health_token.clone() }).await.unwrap();
    let _unread = soon(client.attach(ReceiverStream::new(queue))).await.unwrap();
    soon(answered.wait_for(|count| *count == 1)).await.unwrap();
    tokens.send(AttachRequest { health_token }).await.unwrap();
    soon(answered.wait_for(|count| *count == 2)).await.unwrap();
    let mut answer = soon(client.generate(empty::<GenerateRequest>())).await.unwrap().into_inner();
    soon(answer.message()).await.unwrap();

    revoke_gateway(&pair);
    assert_eq!(refusal(soon(answer.message()).await).0, "PEER_NOT_ATTACHED");
    assert_eq!(refusal(soon(client.list_models(empty())).await).0, "PEER_NOT_ATTACHED");
}

#[tokio::test]
async fn a_revocation_outlives_an_enrolment_that_does_not_mention_it() {
    let pair = Pair::start().await;
    let mut client = pair.raw(&pair.gateway).await;
    let old = pair.gateway.tokens().current();
    let mut attached = show(&mut client, &old).await.unwrap();
    revoke_gateway(&pair);
    soon(attached.answers.message()).await.unwrap_err();

    pair.fake.authority.revocations.lock().unwrap().clear();
    let again = *pair.fake.authority.enrolled.borrow() + 2;
    let heard = *pair.fake.authority.heard.borrow() + 2;
    pair.fake.authority.hang_up.send_replace(());
    soon(pair.fake.authority.enrolled.subscribe().wait_for(|count| *count == again)).await.unwrap();
    pair.fake.heard(heard).await;
    assert_eq!(refusal(show(&mut client, &old).await).0, "PEER_TOKEN_REFUSED");
}

#[tokio::test]
async fn a_reinstated_peer_attaches_with_a_token_of_a_later_epoch() {
    let pair = Pair::start().await;
    let mut client = pair.raw(&pair.gateway).await;
    let mut attached = show(&mut client, &pair.gateway.tokens().current()).await.unwrap();
    let mut tokens = pair.gateway.tokens();
    revoke_gateway(&pair);
    soon(attached.answers.message()).await.unwrap_err();
    pair.world.advance(1);
    soon(tokens.renewed()).await;
    show(&mut client, &pair.gateway.tokens().current()).await.unwrap();
}
