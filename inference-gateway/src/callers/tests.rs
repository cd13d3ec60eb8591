use http::HeaderValue;
use service_runtime::ManualClock;

use super::*;

const KEY: &str = "cube-0123456789";

fn callers(more: &str) -> Callers {
    let sha256 = hex::encode(digest(&SHA256, KEY.as_bytes()));
    let text = format!("version = 1\n[[key]]\nname = \"a\"\nsha256 = \"{sha256}\"\n{more}");
    Callers::Keys(watch::channel(Arc::new(Keys::parse(text.as_bytes()).unwrap())).1)
}

fn who(callers: &Callers, headers: &[(&'static str, &str)]) -> Result<Caller, String> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(*name, HeaderValue::from_str(value).unwrap());
    }
    let (clock, secret) = (ManualClock::new(1_798_761_600), salts().unwrap());
    callers.who(&map, None, &clock, &secret).map_err(|status| {
        assert_eq!(proto::reason_of(&status).as_deref(), Some("CREDENTIAL_REFUSED"));
        assert!(!status.message().contains(KEY));
        status.message().to_owned()
    })
}

#[test]
fn a_key_is_shown_as_openais_ollamas_or_anthropics_clients_do() {
    let callers = callers("expires = \"never\"\nmodels = [\"*\"]\n");
    for headers in [[("authorization", "Bearer cube-0123456789")], [("x-api-key", KEY)]] {
        let caller = who(&callers, &headers).unwrap();
        assert_eq!((&*caller.name, caller.is_restricted()), ("a", false));
    }
}

#[test]
fn nothing_else_is_let_in() {
    let callers = callers("expires = \"never\"\nmodels = [\"*\"]\n");
    for headers in [
        &[][..],
        &[("authorization", KEY)],
        &[("authorization", "Basic cube-0123456789")],
        &[("authorization", "Bearer cube-012345678")],
        &[("authorization", "Bearer ")],
        &[("x-api-key", KEY), ("x-api-key", KEY)],
    ] {
        assert!(who(&callers, headers).is_err(), "{headers:?}");
    }
    assert!(who(&Callers::Anonymous, &[]).is_ok());
}

#[test]
fn a_key_ends() {
    let last = callers("expires = \"2027-01-01T00:00:01Z\"\nmodels = [\"*\"]\n");
    assert!(who(&last, &[("x-api-key", KEY)]).is_ok());
    let over = callers("expires = \"2027-01-01T00:00:00Z\"\nmodels = [\"*\"]\n");
    assert_eq!(who(&over, &[("x-api-key", KEY)]).unwrap_err(), "the key has expired");
}

#[test]
fn a_caller_asks_its_models_only_and_has_a_salt_of_its_own() {
    let callers = callers("expires = \"never\"\nmodels = [\"llama3\", \"m:7b\"]\n");
    let caller = who(&callers, &[("x-api-key", KEY)]).unwrap();
    for (model, may) in [("llama3", true), ("llama3:latest", true), ("m:7b", true), ("m", false), ("", false)]
    {
        assert_eq!(caller.may_ask(model).is_ok(), may, "{model}");
    }
    let secret = salts().unwrap();
    let salt = |name| Caller::new(name, None, &secret).salt().to_owned();
    assert!(salt("a") == salt("a") && salt("a") != salt("b") && salt("a").len() == 43);
}
