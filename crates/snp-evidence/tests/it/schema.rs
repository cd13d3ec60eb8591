//! `docs/spec/policy.schema.json` and the reader of policies say the same.

use std::{cell::RefCell, collections::HashMap, fs};

use regex::Regex;
use serde_json::{Value, json};
use snp_evidence::Policy;

use crate::support::{policy_text, root};

pub(crate) struct Schema {
    document: Value,
    patterns: RefCell<HashMap<String, Regex>>,
}

impl Schema {
    pub(crate) fn read(name: &str) -> Self {
        let text = fs::read(root().join("docs/spec").join(name)).unwrap();
        Self { document: serde_json::from_slice(&text).unwrap(), patterns: RefCell::default() }
    }

    pub(crate) fn accepts(&self, policy: &Value) -> bool {
        self.holds(&self.document, policy)
    }

    fn matches(&self, pattern: &str, text: &str) -> bool {
        let mut patterns = self.patterns.borrow_mut();
        patterns.entry(pattern.to_owned()).or_insert_with(|| Regex::new(pattern).unwrap()).is_match(text)
    }

    /// The keywords of JSON Schema 2020-12 that our schema uses, and no other.
    fn holds(&self, schema: &Value, value: &Value) -> bool {
        schema.as_object().unwrap().iter().all(|(keyword, wanted)| match keyword.as_str() {
            "$schema" | "$defs" | "title" | "description" => true,
            "$ref" => {
                let place = wanted.as_str().unwrap().strip_prefix('#').unwrap();
                self.holds(self.document.pointer(place).unwrap(), value)
            }
            "anyOf" => wanted.as_array().unwrap().iter().any(|schema| self.holds(schema, value)),
            "not" => !self.holds(wanted, value),
            "const" => value == wanted,
            "enum" => wanted.as_array().unwrap().contains(value),
            "type" => match wanted.as_str().unwrap() {
                "object" => value.is_object(),
                "array" => value.is_array(),
                "string" => value.is_string(),
                "integer" => value.is_i64() || value.is_u64(),
                other => panic!("type {other}"),
            },
            "required" => {
                value.as_object().is_none_or(|members| names(wanted).all(|name| members.contains_key(name)))
            }
            "properties" => value.as_object().is_none_or(|members| {
                members
                    .iter()
                    .all(|(name, value)| wanted.get(name).is_none_or(|schema| self.holds(schema, value)))
            }),
            "additionalProperties" => {
                assert_eq!(*wanted, false);
                let known = &schema["properties"];
                value.as_object().is_none_or(|members| members.keys().all(|name| known.get(name).is_some()))
            }
            "minProperties" => {
                let count = value.as_object().map(|members| members.len() as u64);
                count.is_none_or(|count| count >= wanted.as_u64().unwrap())
            }
            "items" => value.as_array().is_none_or(|items| items.iter().all(|item| self.holds(wanted, item))),
            "minimum" => value.as_i64().is_none_or(|number| number >= wanted.as_i64().unwrap()),
            "maximum" => value.as_i64().is_none_or(|number| number <= wanted.as_i64().unwrap()),
            "pattern" => value.as_str().is_none_or(|text| self.matches(wanted.as_str().unwrap(), text)),
            other => panic!("keyword {other}"),
        })
    }
}

fn names(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().unwrap().iter().map(|name| name.as_str().unwrap())
}

fn values(toml: &str) -> Value {
    serde_json::to_value(toml.parse::<toml::Table>().unwrap()).unwrap()
}

fn reader_accepts(policy: &Value) -> bool {
    let toml = toml::to_string(policy).unwrap();
    Policy::parse(toml.as_bytes()).is_ok()
}

fn samples() -> Vec<Value> {
    let deployed = fs::read_to_string(root().join("deploy/config/policy.toml")).unwrap();
    let texts = [
        policy_text("cryptographic.toml"),
        policy_text("strict.toml"),
        deployed,
        include_str!("demanding.toml").to_owned(),
        include_str!("every-form.toml").to_owned(),
    ];
    texts.iter().map(|text| values(text)).collect()
}

/// The place of every value inside, outermost first.
pub(crate) fn places(value: &Value, place: &str, all: &mut Vec<String>) {
    all.push(place.to_owned());
    let inner: Vec<(String, &Value)> = match value {
        Value::Object(members) => members.iter().map(|(name, value)| (name.clone(), value)).collect(),
        Value::Array(items) => items.iter().enumerate().map(|(at, item)| (at.to_string(), item)).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    };
    for (name, value) in inner {
        places(value, &format!("{place}/{name}"), all);
    }
}

pub(crate) fn without(policy: &Value, place: &str) -> Value {
    let mut policy = policy.clone();
    let (parent, name) = place.rsplit_once('/').unwrap();
    let parent = policy.pointer_mut(parent).unwrap();
    if let Some(members) = parent.as_object_mut() {
        members.remove(name);
    } else {
        parent.as_array_mut().unwrap().remove(name.parse().unwrap());
    }
    policy
}

pub(crate) fn with(policy: &Value, place: &str, value: &Value) -> Value {
    let mut policy = policy.clone();
    *policy.pointer_mut(place).unwrap() = value.clone();
    policy
}

#[test]
fn both_accept_every_sample() {
    let schema = Schema::read("policy.schema.json");
    for policy in samples() {
        assert!(schema.accepts(&policy) && reader_accepts(&policy), "{policy:#}");
    }
}

/// Every value of two samples that have every form between them, left away and replaced by others of all kinds.
#[test]
fn both_judge_every_changed_sample_alike() {
    let schema = Schema::read("policy.schema.json");
    let others = [
        json!("require"),
        json!("forbid"),
        json!("any"),
        json!("chips"),
        json!(""),
        json!(" "),
        json!("00"),
        json!("00".repeat(48)),
        json!("0A".repeat(32)),
        json!("0x+1"),
        json!("0x10000000000000000"),
        json!("1.2"),
        json!("+1.2.3"),
        json!("1.256.3"),
        json!(-1),
        json!(0),
        json!(6),
        json!(8),
        json!(256),
        json!(4_294_967_295_i64),
        json!(4_294_967_296_i64),
        json!(true),
        json!([]),
        json!([0]),
        json!({}),
        json!({ "off": "why" }),
        json!({ "off": "why", "allow": [] }),
        json!({ "allow": [] }),
        json!({ "minimum": {} }),
        json!({ "set": [], "clear": [] }),
        json!({ "genoa": { "set": [], "clear": [] } }),
        json!({ "stale_days": 8 }),
        json!({ "allow": [], "covers": "kernel-only" }),
    ];
    let (mut accepted, mut refused) = (0, 0);
    for policy in samples().split_off(3) {
        let mut all = Vec::new();
        places(&policy, "", &mut all);
        let removed = all.iter().skip(1).map(|place| without(&policy, place));
        let replaced =
            all.iter().skip(1).flat_map(|place| others.iter().map(|other| with(&policy, place, other)));
        for changed in removed.chain(replaced) {
            let verdict = reader_accepts(&changed);
            assert_eq!(schema.accepts(&changed), verdict, "{changed:#}");
            *(if verdict { &mut accepted } else { &mut refused }) += 1;
        }
    }
    assert!(accepted > 300 && refused > 5_000, "{accepted} accepted, {refused} refused");
}

#[test]
fn both_refuse_what_they_do_not_know() {
    let schema = Schema::read("policy.schema.json");
    for policy in samples() {
        let mut all = Vec::new();
        places(&policy, "", &mut all);
        for place in all {
            let mut changed = policy.clone();
            if let Some(Value::Object(members)) = changed.pointer_mut(&place) {
                members.insert("unknown".to_owned(), json!("x"));
                assert!(!schema.accepts(&changed) && !reader_accepts(&changed), "{place}");
            }
        }
    }
}
