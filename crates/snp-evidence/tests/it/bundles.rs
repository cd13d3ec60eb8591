//! Bundles are read strictly and mean one thing only.

use snp_evidence::{Bundle, BundleError, Hash48, MAX_BUNDLE, NonceTree, Root};

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
        ("padded nonce", "IyMjIw\"}", "IyMjIw==\"}"),
        ("blank in base64", "\"report\":\"", "\"report\":\" "),
        ("text after the end", "{\"v\":1,", "{}{\"v\":1,"),
    ] {
        let text = json();
        let changed = text.replacen(from, to, 1);
        assert!(changed != text || what.contains("padded"), "{what}: {text}");
        if changed != text {
            Bundle::parse(changed.as_bytes()).map(drop).expect_err(what);
        }
    }
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
