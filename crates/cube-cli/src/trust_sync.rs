//! `cube trust-sync`: the CAs of many CVMs, each vouched for by its own evidence, as meshes want them.

use std::{collections::BTreeMap, fs, io, path::Path, time::Duration};

use attested_client::Target;
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde_json::{Value, json};

use crate::{
    args::{GatewayArgs, trust_sync::TrustSyncArgs},
    ask::connect,
    exit::Exit,
    failure::Failure,
    input,
    table::{self, printable},
};

/// Seconds after which readers look again, unless `--every` says otherwise.
const REFRESH: u64 = 300;

pub(crate) async fn run(args: TrustSyncArgs) -> Result<u8, Failure> {
    let Some(seconds) = args.every else { return once(&args).await };
    loop {
        if let Err(failure) = once(&args).await {
            table::progress(&format!("cube: {failure}"));
        }
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }
}

/// CAs of verified gateways by their certificates, all of one trust domain.
#[derive(Default)]
struct Trust {
    domain: Option<String>,
    cas: BTreeMap<Vec<u8>, Ca>,
}

/// A CA of a CVM.
struct Ca {
    pem: String,
    jwk: Value,
}

/// What was not verified is left out, so that one gateway that is down or refused costs the others nothing; the exit code
/// is that of the first such.
async fn once(args: &TrustSyncArgs) -> Result<u8, Failure> {
    let (mut trust, mut code) = (Trust::default(), 0);
    for url in &args.urls {
        let ended = match gather(args, url, &mut trust).await {
            Ok(ended) => ended,
            Err(failure @ (Failure::Usage(_) | Failure::Output(_))) => return Err(failure),
            Err(failure) => {
                table::progress(&format!("{url}: left out: {failure}"));
                failure.exit_code()
            }
        };
        code = if code == 0 { ended } else { code };
    }
    let Some(domain) = &trust.domain else {
        table::progress("no gateway was verified; nothing is written");
        return Ok(if code == 0 { Exit::Failed as u8 } else { code });
    };
    write(args, &trust, domain)?;
    Ok(code)
}

async fn gather(args: &TrustSyncArgs, url: &Target, trust: &mut Trust) -> Result<u8, Failure> {
    let (policy, roots, server) = (args.policy.clone(), args.roots.clone(), args.server.clone());
    let (judgement, channel) = connect(&GatewayArgs { url: url.clone(), policy, roots, server }).await?;
    let Some(channel) = channel else {
        table::progress(&format!("{url}: left out"));
        table::summary(&judgement, &mut table::stderr())?;
        return Ok(judgement.exit_code());
    };
    let domain = &channel.verified().manifest().trust_domain;
    if trust.domain.as_ref().is_some_and(|known| known != domain) {
        let problem = format!("is of trust domain {}; one bundle is of one trust domain", printable(domain));
        return Err(Failure::Answer(problem));
    }
    let mut shown = 0;
    for ca in channel.ca_certificates() {
        let spki = mtls::spki_of(ca).map_err(|error| Failure::Answer(error.to_string()))?;
        trust.cas.insert(ca.to_vec(), Ca { pem: mtls::pem(ca), jwk: jwk(&spki, ca)? });
        shown += 1;
    }
    if shown == 0 {
        return Err(Failure::Answer("shows no CA of its own".to_owned()));
    }
    trust.domain = Some(domain.clone());
    table::progress(&format!("{url}: verified, of trust domain {}", printable(domain)));
    Ok(judgement.exit_code())
}

/// SPIFFE Trust Domain and Bundle, section 4.2. The point of a P-384 `SubjectPublicKeyInfo` is its last 96 bytes.
fn jwk(spki: &[u8], certificate: &[u8]) -> Result<Value, Failure> {
    const P384: usize = 120;
    let point = spki.split_last_chunk::<96>().filter(|_| spki.len() == P384);
    let (_, point) = point.ok_or_else(|| Failure::Answer("shows a CA whose key is not P-384".to_owned()))?;
    let (x, y) = point.split_at(48);
    Ok(json!({
        "kty": "EC", "use": "x509-svid", "crv": "P-384",
        "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
        "x5c": [STANDARD.encode(certificate)],
    }))
}

/// Each file is replaced as a whole, and only where its CAs are others.
fn write(args: &TrustSyncArgs, trust: &Trust, domain: &str) -> Result<(), Failure> {
    fs::create_dir_all(&args.out).map_err(|error| Failure::file("make", &args.out, &error))?;
    let pem: String = trust.cas.values().map(|ca| ca.pem.as_str()).collect();
    let (file, config_map) = (args.out.join("bundle.pem"), args.config_map.as_ref());
    let known = fs::read_to_string(&file).is_ok_and(|known| known == pem);
    let missing = |name: &str| !args.out.join(name).exists();
    if known && !missing("bundle.json") && !(config_map.is_some() && missing("configmap.yaml")) {
        table::progress("the CAs are those of before; nothing is written");
        return Ok(());
    }
    let bundle = bundle(args, trust);
    replace(&args.out.join("bundle.json"), &bundle)?;
    if let Some(name) = config_map {
        replace(&args.out.join("configmap.yaml"), &name.manifest(domain, &pem, &bundle))?;
    }
    replace(&file, &pem)?;
    table::progress(&format!("{} CAs written to {}", trust.cas.len(), args.out.display()));
    Ok(())
}

/// SPIFFE Trust Domain and Bundle, section 4.1.
fn bundle(args: &TrustSyncArgs, trust: &Trust) -> String {
    let keys: Vec<_> = trust.cas.values().map(|ca| &ca.jwk).collect();
    let hint = args.every.unwrap_or(REFRESH);
    let bundle = json!({ "spiffe_sequence": input::now().0, "spiffe_refresh_hint": hint, "keys": keys });
    format!("{bundle:#}\n")
}

fn replace(path: &Path, text: &str) -> Result<(), Failure> {
    let new = path.with_extension("new");
    let replaced: io::Result<()> = fs::write(&new, text).and_then(|()| fs::rename(&new, path));
    replaced.map_err(|error| Failure::file("write", path, &error))
}
