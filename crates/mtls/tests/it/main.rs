//! Real handshakes between real certificates.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

mod ca;
mod callers;

use std::sync::Arc;
use std::time::Duration;

use mtls::{Material, PeerError, Role, ServiceKey, SpiffeId, Svid, peer_of};
use rustls::{ClientConfig, HandshakeKind, NamedGroup, ProtocolVersion};
use service_runtime::{Clock, Connection, ManualClock, ServerTls, TlsFacts};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use ca::{DOMAIN, INSTANCE, NOW, TestCa, id};

type Pair = (client::TlsStream<DuplexStream>, server::TlsStream<DuplexStream>);

/// A full handshake with one byte each way: in TLS 1.3 only the first answer tells the client
/// that its certificate was accepted.
async fn handshake(client: Arc<ClientConfig>, server: ServerTls) -> Result<Pair, String> {
    let (near, far) = tokio::io::duplex(1 << 16);
    let connect = async {
        let mut stream = TlsConnector::from(client).connect(mtls::no_name(), near).await?;
        stream.write_all(b"?").await?;
        stream.read_exact(&mut [0]).await?;
        Ok::<_, std::io::Error>(stream)
    };
    let accept = async {
        let mut stream = TlsAcceptor::from(server.config).accept(far).await?;
        stream.read_exact(&mut [0]).await?;
        stream.write_all(b"!").await?;
        stream.flush().await?;
        Ok::<_, std::io::Error>(stream)
    };
    match tokio::join!(connect, accept) {
        (Ok(near), Ok(far)) => Ok((near, far)),
        (near, far) => Err(format!("client: {:?}; server: {:?}", near.err(), far.err())),
    }
}

/// One of the two refuses the other.
async fn assert_refused(client: Arc<ClientConfig>, server: ServerTls, why: &str) {
    let refused = handshake(client, server).await.unwrap_err();
    assert!(refused.contains(why), "{refused}");
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(NOW))
}

fn material(ca: &TestCa, role: Role, clock: &Arc<ManualClock>) -> Material {
    let material = Material::new(Arc::clone(clock) as Arc<dyn Clock>);
    material.set(&ca.svid(&[id(role)]), ca.bundle(), DOMAIN, INSTANCE).unwrap();
    material
}

/// A client that shows what `Material` would not, and that does not look at the server.
fn foreign_client(svid: Svid) -> Arc<ClientConfig> {
    let mut config =
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(ca::AnyServer))
            .with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(
                rustls::sign::CertifiedKey::new(svid.chain, Arc::new(svid.key)),
            )));
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}

/// A server that does not look at the client, so that only our client's judgement is seen.
fn foreign_server(svid: &Svid) -> ServerTls {
    mtls::public_server_tls(&svid.key, svid.chain.clone(), None).unwrap()
}

#[tokio::test]
async fn two_services_of_one_instance_meet() {
    let (ca, clock) = (TestCa::new(), clock());
    let (gateway, adapter) = (material(&ca, Role::Gateway, &clock), material(&ca, Role::Adapter, &clock));
    let config = gateway.client_config(Role::Adapter).unwrap();
    for _ in 0..2 {
        let (near, far) = handshake(Arc::clone(&config), adapter.server_tls().unwrap()).await.unwrap();
        let (near, far) = (near.get_ref().1, far.get_ref().1);
        assert_eq!(near.protocol_version(), Some(ProtocolVersion::TLSv1_3));
        assert_eq!(near.alpn_protocol(), Some(&b"h2"[..]));
        assert_eq!(near.handshake_kind(), Some(HandshakeKind::Full), "never resumed");
        assert_eq!(near.negotiated_key_exchange_group().unwrap().name(), NamedGroup::X25519MLKEM768);
        let peer = far.peer_certificates().unwrap().first().unwrap();
        assert_eq!(SpiffeId::from_certificate(peer).unwrap(), id(Role::Gateway));
        assert_eq!(far.server_name(), None, "no name is sent");
    }
}

#[tokio::test]
async fn a_peer_of_another_ca_is_refused() {
    let (ca, other, clock) = (TestCa::new(), TestCa::new(), clock());
    let gateway = material(&ca, Role::Gateway, &clock);
    let own = gateway.client_config(Role::Adapter).unwrap();
    let why = "InvalidCertificate(BadSignature)";
    assert_refused(own, foreign_server(&other.svid(&[id(Role::Adapter)])), why).await;
    assert_refused(foreign_client(other.svid(&[id(Role::Adapter)])), gateway.server_tls().unwrap(), why)
        .await;
}

#[tokio::test]
async fn a_server_of_another_role_is_refused() {
    let (ca, clock) = (TestCa::new(), clock());
    let own = material(&ca, Role::Gateway, &clock).client_config(Role::Attestation).unwrap();
    assert_refused(own, foreign_server(&ca.svid(&[id(Role::Adapter)])), "WrongPeer").await;
}

#[tokio::test]
async fn a_peer_of_another_boot_is_refused_although_its_ca_is_known() {
    let (ca, clock) = (TestCa::new(), clock());
    let adapter = material(&ca, Role::Adapter, &clock);
    for stranger in [
        SpiffeId::new(DOMAIN, "ffffffffffffffff", Role::Gateway).unwrap(),
        SpiffeId::new("other.internal", INSTANCE, Role::Gateway).unwrap(),
    ] {
        let svid = || ca.svid(std::slice::from_ref(&stranger));
        assert_refused(foreign_client(svid()), adapter.server_tls().unwrap(), "WrongPeer").await;
        let own = adapter.client_config(Role::Gateway).unwrap();
        assert_refused(own, foreign_server(&svid()), "WrongPeer").await;
    }
}

#[tokio::test]
async fn a_peer_with_two_names_or_none_is_refused() {
    let (ca, clock) = (TestCa::new(), clock());
    let adapter = material(&ca, Role::Adapter, &clock);
    for names in [vec![id(Role::Gateway), id(Role::Adapter)], vec![]] {
        let client = foreign_client(ca.svid(&names));
        assert_refused(client, adapter.server_tls().unwrap(), "Names").await;
    }
}

#[tokio::test]
async fn dates_are_judged_by_the_given_clock() {
    let (ca, now) = (TestCa::new(), clock());
    let (gateway, adapter) = (material(&ca, Role::Gateway, &now), material(&ca, Role::Adapter, &now));
    let own = gateway.client_config(Role::Adapter).unwrap();
    now.advance(Duration::from_secs(3601));
    assert_refused(Arc::clone(&own), foreign_server(&ca.svid(&[id(Role::Adapter)])), "Expired").await;
    assert_refused(foreign_client(ca.svid(&[id(Role::Gateway)])), adapter.server_tls().unwrap(), "Expired")
        .await;

    now.set_unix(NOW);
    handshake(own, adapter.server_tls().unwrap()).await.unwrap();
}

#[tokio::test]
async fn nothing_is_resumed_even_where_the_peer_would() {
    let (ca, clock) = (TestCa::new(), clock());
    let gateway = material(&ca, Role::Gateway, &clock);
    let own = gateway.server_tls().unwrap().config;
    assert_eq!((own.send_tls13_tickets, own.max_early_data_size), (0, 0));
    assert!(!own.session_storage.can_cache() && !own.ticketer.enabled());

    let foreign = foreign_server(&ca.svid(&[id(Role::Adapter)]));
    let mut generous = Arc::unwrap_or_clone(foreign.config);
    generous.session_storage = rustls::server::ServerSessionMemoryCache::new(8);
    generous.send_tls13_tickets = 2;
    let generous = ServerTls { config: Arc::new(generous), ..foreign };
    let bare = || foreign_client(Svid { key: ServiceKey::generate().unwrap(), chain: vec![] });
    for (client, second) in [
        (bare(), HandshakeKind::Resumed),
        (gateway.client_config(Role::Adapter).unwrap(), HandshakeKind::Full),
    ] {
        handshake(Arc::clone(&client), generous.clone()).await.unwrap();
        let (near, _far) = handshake(client, generous.clone()).await.unwrap();
        assert_eq!(near.get_ref().1.handshake_kind(), Some(second));
    }
}

#[tokio::test]
async fn a_client_without_certificate_is_refused() {
    let (ca, clock) = (TestCa::new(), clock());
    let adapter = material(&ca, Role::Adapter, &clock);
    let bare = Svid { key: ServiceKey::generate().unwrap(), chain: vec![] };
    let client = foreign_client(bare);
    assert_refused(client, adapter.server_tls().unwrap(), "NoCertificatesPresented").await;
}

#[test]
fn without_material_nothing_connects_and_refused_material_changes_nothing() {
    let (ca, clock) = (TestCa::new(), clock());
    let material = Material::new(clock);
    let nothing = |m: &Material| m.server_tls().is_none() && m.client_config(Role::Gateway).is_none();
    assert!(nothing(&material));

    let good = || ca.svid(&[id(Role::Gateway)]);
    let other_key = Svid { key: ServiceKey::generate().unwrap(), ..good() };
    for (svid, bundle, instance, why) in [
        (Svid { chain: vec![], ..good() }, ca.bundle(), INSTANCE, "no certificate"),
        (other_key, ca.bundle(), INSTANCE, "another key"),
        (good(), ca.bundle(), "ffffffffffffffff", "not of the manifest's instance"),
        (good(), vec![], INSTANCE, "no usable CA"),
    ] {
        let refused = material.set(&svid, bundle, DOMAIN, instance).unwrap_err().to_string();
        assert!(refused.contains(why), "{refused}");
        assert!(nothing(&material));
    }
    material.set(&good(), ca.bundle(), DOMAIN, INSTANCE).unwrap();
    assert_eq!(material.identity(), Some(id(Role::Gateway)));
}

#[test]
fn a_connection_tells_its_peer() {
    let leaf = TestCa::new().svid(&[id(Role::Gateway)]).chain.remove(0);
    let facts = |peer_leaf| TlsFacts { exporter: [0; 32], leaf_spki_sha256: [0; 32], peer_leaf, http2: true };
    let connection = |tls| Connection { id: 1, tls, unix_peer: None };
    assert_eq!(peer_of(&connection(Some(facts(Some(leaf))))), Ok(id(Role::Gateway)));
    assert_eq!(peer_of(&connection(Some(facts(None)))), Err(PeerError::NoCertificate));
    assert_eq!(peer_of(&connection(None)), Err(PeerError::NoTls));
}

#[tokio::test]
async fn a_public_listener_speaks_both_protocols_and_asks_for_no_certificate() {
    let ca = TestCa::new();
    let Svid { key, chain } = ca.svid(&[]);
    let server = mtls::public_server_tls(&key, chain, None).unwrap();
    assert_eq!(server.leaf_spki_sha256, key.spki_sha256());
    let bare = Svid { key: ServiceKey::generate().unwrap(), chain: vec![] };
    for protocol in [&b"h2"[..], b"http/1.1"] {
        let mut client = Arc::unwrap_or_clone(foreign_client(bare.clone()));
        client.alpn_protocols = vec![protocol.to_vec()];
        let (near, far) = handshake(Arc::new(client), server.clone()).await.unwrap();
        assert_eq!(near.get_ref().1.alpn_protocol(), Some(protocol));
        assert!(far.get_ref().1.peer_certificates().is_none());
    }
}
