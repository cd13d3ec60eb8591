//! `docs/benchmarks.md`, from the figures of the last runs.

use std::{fmt::Write, fs, path::Path};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::shell::{progress, target, workspace};

/// What a benchmark is about, and what its ratios are asked to be.
struct Subject {
    name: &'static str,
    about: &'static str,
    asked: &'static [(&'static str, &'static str)],
}

const SUBJECTS: &[Subject] = &[
    Subject {
        name: "gateway",
        about: "Answers on their way through gateway and adapter, whole and streamed (50 pieces of text and the end), beside \
                Envoy in both places with the same two hops of mutual TLS and two workers each, a bare relay that ends TLS \
                and looks at nothing, and LLM gateways of others on one hop without TLS. Nobody writes access lines. CPU is \
                that of the processes between client and model server. Over gRPC a whole answer is gathered from a stream, \
                so it costs what a stream costs. What is added to a time is its median, or 99th of 100, less the median \
                with nothing between. `idle_stream_kib` is what each of 1,000 streams that wait for their next piece adds \
                to both services.",
        asked: &[
            ("added_p50_vs_envoy", "≤ 1.5"),
            ("added_p99_vs_envoy", "≤ 1.5"),
            ("cpu_paced_stream_vs_envoy", "≤ 1.5"),
            ("cpu_stream_vs_envoy", "≤ 1.5"),
            ("cpu_unary_vs_envoy", "≤ 1.5"),
            ("cpu_stream_vs_best_llm_gateway", "≤ 0.5"),
            ("idle_stream_kib", "≤ 32"),
        ],
    },
    Subject {
        name: "disconnect",
        about: "From a caller's leave to the end of the model server's connection: 40 callers for each interface, model \
                server and phase.",
        asked: &[("p99_ms", "≤ 100")],
    },
    Subject {
        name: "reports",
        about: "Callers with nonces of their own, answered from one hardware report started per second, which takes 20 ms.",
        asked: &[("nonces_per_s", "≥ 5,000"), ("p99_wait_ms", "≤ 1,200")],
    },
    Subject {
        name: "token",
        about: "Health tokens and the gate beside the cryptographic operation that they rest on.",
        asked: &[
            ("first_vs_p384", "≤ 1.2"),
            ("gate_ns", "≤ 100"),
            ("attach_state_ns", "≤ 100"),
            ("allocations", "0"),
        ],
    },
    Subject {
        name: "verify",
        about: "Verification of SNP evidence beside the operations that it executes, and beside other verifiers.",
        asked: &[],
    },
];

/// Adds to the figures in `file` where they were measured, and beside what.
pub(super) fn stamp(file: &Path, beside: &[&str]) -> Result<()> {
    let mut report = read(file)?;
    let members = report.as_object_mut().context("a report is a JSON object")?;
    members.insert("machine".to_owned(), machine().into());
    members.insert("beside".to_owned(), json!(beside));
    Ok(fs::write(file, format!("{report:#}\n"))?)
}

/// Writes the page; benchmarks that were not run since the target folder was made are left out, and named.
pub(super) fn write() -> Result<()> {
    let mut page = String::from(HEAD);
    let mut any = false;
    for subject in SUBJECTS {
        let file = target()?.join("bench").join(format!("{}.json", subject.name));
        if !file.is_file() {
            progress(&format!("{0} is left out: `cargo xtask bench {0}` comes first", subject.name));
            continue;
        }
        section(&mut page, subject, &read(&file)?)?;
        any = true;
    }
    ensure!(any, "no benchmark has been run");
    Ok(fs::write(workspace().join("docs/benchmarks.md"), page)?)
}

const HEAD: &str = "# Benchmarks\n\n\
    Each section is one run of `cargo xtask bench NAME`, which measures everything in it by turns on one machine; `cargo xtask bench \
    page` writes this page from the figures. Ratios are to the named baseline in the same run: times of another machine \
    will differ, ratios less so. Nothing here decides a test.\n";

fn section(page: &mut String, subject: &Subject, report: &Value) -> Result<()> {
    let text = |name: &str| report.get(name).and_then(Value::as_str).unwrap_or("unknown");
    write!(page, "\n## {}\n\n{}\n\n", subject.name, subject.about)?;
    write!(page, "Commit {}, on {}", text("commit"), text("machine"))?;
    let beside = report.get("beside").and_then(Value::as_array).into_iter().flatten();
    let beside: Vec<_> = beside.filter_map(Value::as_str).collect();
    if !beside.is_empty() {
        write!(page, ", beside {}", beside.join(", "))?;
    }
    page.push_str(".\n\n| ratio | figure | asked for |\n|---|---:|---|\n");
    for (name, value) in report.get("ratios").and_then(Value::as_object).context("no ratios")? {
        let asked = subject.asked.iter().find(|(asked, _)| asked == name).map_or("", |(_, limit)| limit);
        writeln!(page, "| `{name}` | {:.3} | {asked} |", value.as_f64().unwrap_or(f64::NAN))?;
    }
    rows(page, report.get("rows").and_then(Value::as_array).context("no rows")?)
}

/// A line for each subject, a column for each metric.
fn rows(page: &mut String, rows: &[Value]) -> Result<()> {
    let text = |row: &Value, name: &str| row.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (mut subjects, mut metrics) = (Vec::new(), Vec::new());
    for row in rows {
        let (subject, metric) =
            (text(row, "subject"), format!("{} ({})", text(row, "metric"), text(row, "unit")));
        if !subjects.contains(&subject) {
            subjects.push(subject);
        }
        if !metrics.contains(&metric) {
            metrics.push(metric);
        }
    }
    writeln!(page, "\n| | {} |\n|---|{}", metrics.join(" | "), "---:|".repeat(metrics.len()))?;
    for subject in subjects {
        write!(page, "| {subject} |")?;
        for metric in &metrics {
            let own = |row: &&Value| {
                text(row, "subject") == subject
                    && *metric == format!("{} ({})", text(row, "metric"), text(row, "unit"))
            };
            let value = rows.iter().find(own).and_then(|row| row.get("value")?.as_f64());
            write!(page, " {} |", value.map(|value| format!("{value:.1}")).unwrap_or_default())?;
        }
        page.push('\n');
    }
    Ok(())
}

fn read(file: &Path) -> Result<Value> {
    let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    serde_json::from_str(&text).with_context(|| format!("{} is not JSON", file.display()))
}

/// How many processors of which kind, and the kernel.
fn machine() -> String {
    let told = |file: &str| fs::read_to_string(file).unwrap_or_default();
    let (processors, kernel) = (told("/proc/cpuinfo"), told("/proc/sys/kernel/osrelease"));
    let names = || processors.lines().filter_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = names().next().map_or("an unknown processor", |(_, name)| name);
    format!("{} × {model}, Linux {}", names().count(), kernel.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_has_each_figure_at_its_place() {
        let subject = Subject { name: "x", about: "About x.", asked: &[("a_vs_b", "≤ 1")] };
        let report = json!({
            "commit": "abc", "machine": "1 × m", "beside": ["b 2"],
            "rows": [
                { "subject": "a", "metric": "time", "value": 1.25, "unit": "ms" },
                { "subject": "b", "metric": "time", "value": 2, "unit": "ms" },
                { "subject": "b", "metric": "size", "value": 3, "unit": "B" },
            ],
            "ratios": { "a_vs_b": 0.625 },
        });
        let mut page = String::new();
        section(&mut page, &subject, &report).unwrap();
        let expected = "\n## x\n\nAbout x.\n\nCommit abc, on 1 × m, beside b 2.\n\n| ratio | figure | asked for |\n\
            |---|---:|---|\n| `a_vs_b` | 0.625 | ≤ 1 |\n\n| | time (ms) | size (B) |\n|---|---:|---:|\n\
            | a | 1.2 |  |\n| b | 2.0 | 3.0 |\n";
        assert_eq!(page, expected);
    }

    #[test]
    fn each_benchmark_has_its_section() {
        for (name, _) in super::super::BENCHES {
            assert!(SUBJECTS.iter().any(|subject| subject.name == *name), "{name}");
        }
    }
}
