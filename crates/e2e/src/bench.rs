//! What the benchmarks in `examples` share: medians, the table, and the file for programs.

use std::{
    env,
    error::Error,
    fs,
    io::{self, Write},
    path::Path,
    process::ExitCode,
};

use serde_json::{Map, Value, json};

/// The figures of one run.
#[derive(Debug)]
pub struct Report {
    bench: &'static str,
    commit: String,
    file: String,
    rows: Vec<Row>,
    ratios: Map<String, Value>,
}

#[derive(Debug)]
struct Row {
    subject: &'static str,
    metric: &'static str,
    value: f64,
    unit: &'static str,
}

impl Report {
    /// For the commit and the file that `cargo xtask bench` gives.
    pub fn from_arguments(bench: &'static str) -> io::Result<Self> {
        let arguments: Vec<String> = env::args().skip(1).collect();
        let [commit, file] = arguments.as_slice() else {
            let usage = format!("usage: {bench} COMMIT FILE; `cargo xtask bench {bench}` gives both");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, usage));
        };
        Ok(Self::new(bench, commit, file))
    }

    /// Of the tree at `commit`; the figures go to `file`.
    pub fn new(bench: &'static str, commit: &str, file: &str) -> Self {
        let (commit, file) = (commit.to_owned(), file.to_owned());
        Self { bench, commit, file, rows: Vec::new(), ratios: Map::new() }
    }

    /// Adds something measured.
    pub fn row(&mut self, subject: &'static str, metric: &'static str, value: f64, unit: &'static str) {
        self.rows.push(Row { subject, metric, value, unit });
    }

    /// Adds a figure that regressions are looked for in.
    pub fn ratio(&mut self, name: &str, value: f64) {
        self.ratios.insert(name.to_owned(), value.into());
    }

    /// Prints the table and writes the file.
    #[expect(clippy::print_stdout, reason = "the table is the result")]
    pub fn finish(&self) -> io::Result<()> {
        for Row { subject, metric, value, unit } in &self.rows {
            println!("{subject:34} {metric:36} {value:10.1} {unit}");
        }
        for (name, value) in &self.ratios {
            println!("{name:71} {:10.3}", value.as_f64().unwrap_or_default());
        }
        let row = |Row { subject, metric, value, unit }: &Row| json!({ "subject": subject, "metric": metric, "value": value, "unit": unit });
        let report = json!({
            "bench": self.bench,
            "commit": self.commit,
            "rows": self.rows.iter().map(row).collect::<Vec<_>>(),
            "ratios": self.ratios,
        });
        let file = Path::new(&self.file);
        fs::create_dir_all(file.parent().unwrap_or(Path::new(".")))?;
        fs::write(file, format!("{report:#}\n"))
    }
}

/// Says on stderr why there are no figures.
pub fn failed(bench: &str, error: &dyn Error) -> ExitCode {
    // With nobody to read it, the exit code still tells.
    drop(writeln!(io::stderr(), "{bench}: {error}"));
    ExitCode::FAILURE
}

/// The value below which `percent` of `values` lie; NaN where there are none.
pub fn percentile(values: &[f64], percent: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len().saturating_sub(1) * percent / 100).copied().unwrap_or(f64::NAN)
}

/// The value in the middle; NaN where there is none.
pub fn median(values: &[f64]) -> f64 {
    percentile(values, 50)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_of_the_sample() {
        let values: Vec<f64> = (1..=101).rev().map(f64::from).collect();
        for (percent, expected) in [(0, 1.0), (50, 51.0), (99, 100.0), (100, 101.0)] {
            assert!(percentile(&values, percent).total_cmp(&expected).is_eq(), "{percent}");
        }
        assert!(median(&[]).is_nan());
    }
}
