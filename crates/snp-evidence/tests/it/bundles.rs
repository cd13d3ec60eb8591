//! Bundles are read strictly and mean one thing only.

use snp_evidence::{
    B64Url, Binder, Bundle, BundleError, Challenge, Hash48, KeyManifest, MAX_BUNDLE, NonceTree, Root,
    RuntimeClaims, TreePosition,
};

use crate::world::Case;

fn json() -> String {
    String::from_utf8(Case::new().bundle()).unwrap()
}

#[test]
fn a_bundle_survives_the_wire_unchanged() {
    let text = json();
    let bundle = Bundle::parse(text.as_bytes()).unwrap();
    assert_eq!(bundle.to_bytes(), text.as_bytes());
    assert_eq!(bundle.evidence().report.len(), 1184);
}

#[test]
fn the_two_parts_of_a_bundle_are_the_bundle() {
    let case = Case::new();
    let (manifest, claims) = (case.manifest.to_bytes(), case.claims.to_bytes());
    let evidence = case.sign(&case.asked.report_data_alone(&manifest, &claims));
    let tree = || TreePosition::new(3, 2, &[[7; 48]]);
    for binder in [case.asked.binder.clone(), Binder::none()] {
        let asked = Challenge { binder, ..case.asked.clone() };
        let parts = [Bundle::own(&asked, tree()), Bundle::shared(&evidence, &manifest, &claims)];
        assert_eq!(parts.concat(), Bundle::new(&asked, tree(), &evidence, &manifest, &claims).to_bytes());
    }
}

#[test]
fn anything_but_the_one_form_is_refused() {
    for (what, from, to) in [
        ("unknown member", "{\"v\":1,", "{\"v\":1,\"x\":0,"),
        ("duplicate member", "{\"v\":1,", "{\"v\":1,\"v\":1,"),
        ("duplicate inner member", "\"tree\":{\"n\":1,", "\"tree\":{\"n\":1,\"n\":1,"),
        ("unknown inner member", "\"tree\":{\"n\":1,", "\"tree\":{\"n\":1,\"m\":1,"),
        ("missing member", "\"tree\":{\"n\":1,", "\"tree\":{"),
        ("null for a certificate", "\"vek_type\":\"vcek\"", "\"asvk\":null,\"vek_type\":\"vcek\""),
        ("vek without type", "\"vek_type\":\"vcek\",", ""),
        ("another version", "{\"v\":1,", "{\"v\":2,"),
        ("another profile", "urn:uuid:35ee", "urn:uuid:35ef"),
        ("another label", "EXPORTER-Channel-Binding", "EXPORTER-Other"),
        ("label missing", "\"label\":\"EXPORTER-Channel-Binding\",", ""),
        ("float for a number", "\"index\":0,", "\"index\":0.0,"),
        ("negative number", "\"index\":0,", "\"index\":-1,"),
        ("unknown purpose", "\"purpose\":\"fresh\"", "\"purpose\":\"stale\""),
        ("unknown format", "simulated-amd", "imitated-amd"),
        ("padded nonce", "IyM\"}", "IyM=\"}"),
        ("blank in base64", "\"report\":\"", "\"report\":\" "),
        ("text after the end", "{\"v\":1,", "{}{\"v\":1,"),
    ] {
        let text = json();
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text, "{what}");
        Bundle::parse(changed.as_bytes()).map(drop).expect_err(what);
    }
}

/// The object that begins at `at`, written as the array of its members' values.
fn as_array(text: &str, at: usize) -> String {
    let (mut out, mut depth, mut in_name) = (text[..at].to_owned(), 0, false);
    for (place, c) in text[at..].char_indices() {
        match c {
            '{' | '[' => depth += 1,
            '}' | ']' => depth -= 1,
            _ => {}
        }
        match c {
            '{' if depth == 1 => (out, in_name) = (out + "[", true),
            '}' if depth == 0 => return out + "]" + &text[at + place + 1..],
            ',' if depth == 1 => (out, in_name) = (out + ",", true),
            ':' if in_name => in_name = false,
            c if !in_name => out.push(c),
            _ => {}
        }
    }
    panic!("an object without end in {text}");
}

fn refuses_arrays<E>(json: &[u8], parse: impl Fn(&[u8]) -> Result<(), E>) {
    let text = str::from_utf8(json).unwrap();
    assert!(parse(json).is_ok());
    for (at, _) in text.match_indices('{') {
        let changed = as_array(text, at);
        assert!(parse(changed.as_bytes()).is_err(), "{changed}");
    }
}

#[test]
fn an_object_is_never_an_array() {
    let case = Case::new();
    // Nothing left out, so that an array could have every member.
    let mut manifest = case.manifest.clone();
    (manifest.version, manifest.prev) = (2, Some(B64Url([1; 48])));
    manifest.keys.remove(0);
    refuses_arrays(&case.bundle(), |json| Bundle::parse(json).map(drop));
    refuses_arrays(&manifest.to_bytes(), |json| KeyManifest::parse(json).map(drop));
    refuses_arrays(&case.claims.to_bytes(), |json| RuntimeClaims::parse(json).map(drop));
}

#[test]
fn a_word_is_never_an_object() {
    let case = Case::new();
    let (bundle, manifest, claims) = (json(), case.manifest.to_bytes(), case.claims.to_bytes());
    let changed = |text: &str, word: &str| {
        assert!(text.contains(&format!(":\"{word}\"")), "{word}");
        text.replacen(&format!(":\"{word}\""), &format!(":{{\"{word}\":null}}"), 1)
    };
    for word in ["fresh", "tls-exporter", "server", "simulated-amd-sev-snp-report", "vcek"] {
        Bundle::parse(changed(&bundle, word).as_bytes()).map(drop).expect_err(word);
    }
    let manifest = changed(str::from_utf8(&manifest).unwrap(), "tls");
    KeyManifest::parse(manifest.as_bytes()).map(drop).expect_err("tls");
    let claims = changed(str::from_utf8(&claims).unwrap(), "disabled-permanently");
    RuntimeClaims::parse(claims.as_bytes()).map(drop).expect_err("disabled-permanently");
}

#[test]
fn oversize_is_refused_before_reading() {
    let padded = json() + &" ".repeat(MAX_BUNDLE);
    assert!(matches!(Bundle::parse(padded.as_bytes()), Err(BundleError::TooLarge(_))));
}

#[test]
fn every_place_of_every_small_tree_verifies_and_no_other_does() {
    for n in 1..=17_u32 {
        let leaves: Vec<Hash48> = (0..n).map(|leaf| [u8::try_from(leaf).unwrap(); 48]).collect();
        let tree = NonceTree::new(leaves.clone());
        for index in 0..n {
            let (own, path) = (leaves[index as usize], tree.path(index));
            assert_eq!(Root::from_path(&own, n, index, &path), Some(tree.root()), "{index} of {n}");
            for (other_n, other) in [(n, (index + 1) % n), (n + 1, index), (n, n)] {
                let moved = Root::from_path(&own, other_n, other, &path);
                assert!((other_n, other) == (n, index) || moved != Some(tree.root()), "{other} of {other_n}");
            }
            let mut longer = path.clone();
            longer.push([0; 48]);
            assert_eq!(Root::from_path(&own, n, index, &longer), None);
            assert!(path.is_empty() || Root::from_path(&own, n, index, &path[1..]).is_none());
        }
    }
    assert_eq!(Root::from_path(&[0; 48], 0, 0, &[]), None);
    assert_eq!(Root::from_path(&[0; 48], u32::MAX, 0, &[]), None);
}
