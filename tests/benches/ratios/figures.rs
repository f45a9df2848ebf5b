//! Medians, percentiles, and the rule for a ratio: candidate against the mean of the reference
//! before and after it, rounds in which the machine changed its speed left out.

use std::time::Duration;

/// References before and after a candidate that differ by more than this part tell nothing.
const DRIFT_MAX: f64 = 0.15;

/// What one run of one side measured: microseconds for a latency, messages a second for a rate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    /// Median, or the rate.
    pub(crate) middle: f64,
    /// 99th percentile; not a number for a rate or a mean.
    pub(crate) high: f64,
}

impl Run {
    /// Of latencies.
    pub(crate) fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self { middle: micros(at(&times, 50)), high: micros(at(&times, 99)) }
    }

    /// Of a rate.
    pub(crate) fn rate(messages: usize, took: Duration) -> Self {
        let rate = f64::from(u32::try_from(messages).expect("a small number")) / took.as_secs_f64();
        Self { middle: rate, high: f64::NAN }
    }
}

fn at(sorted: &[Duration], percent: usize) -> Duration {
    let last = sorted.len().checked_sub(1).expect("at least one was measured");
    sorted[last * percent / 100]
}

/// Microseconds.
pub(crate) fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// The middle value; the mean of the two middle ones if there are two.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => sorted[odd / 2],
        even => f64::midpoint(sorted[even / 2 - 1], sorted[even / 2]),
    }
}

/// A candidate between two references, once a round.
#[derive(Debug)]
pub(crate) struct Row {
    /// What is measured.
    pub(crate) name: String,
    /// What DESIGN asks for, or nothing.
    pub(crate) goal: &'static str,
    rounds: Vec<(Run, Run, Run)>,
}

impl Row {
    /// Nothing measured yet.
    pub(crate) fn new(name: impl Into<String>, goal: &'static str) -> Self {
        Self { name: name.into(), goal, rounds: Vec::new() }
    }

    /// One round: reference, candidate, reference.
    pub(crate) fn add(&mut self, before: Run, candidate: Run, after: Run) {
        self.rounds.push((before, candidate, after));
    }

    /// The ratios of the rounds in which the two references agree (of all, if none does).
    fn ratios(&self) -> Vec<f64> {
        let ratio = |(before, candidate, after): &(Run, Run, Run)| {
            candidate.middle / f64::midpoint(before.middle, after.middle)
        };
        let steady: Vec<f64> = self
            .rounds
            .iter()
            .filter(|(before, _, after)| {
                (before.middle - after.middle).abs() <= DRIFT_MAX * before.middle.max(after.middle)
            })
            .map(ratio)
            .collect();
        if steady.is_empty() { self.rounds.iter().map(ratio).collect() } else { steady }
    }

    /// As a line of a table.
    pub(crate) fn print(&self) {
        let of = |pick: fn(&(Run, Run, Run)) -> f64| {
            median(&self.rounds.iter().map(pick).collect::<Vec<_>>())
        };
        let reference = of(|round| f64::midpoint(round.0.middle, round.2.middle));
        let ratios = self.ratios();
        let (least, most) = ratios
            .iter()
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(l, m), r| (l.min(*r), m.max(*r)));
        println!(
            "| {} | {} | {} | {} | {:.2} [{least:.2}–{most:.2}] | {}/{} | {} |",
            self.name,
            short(reference),
            short(of(|round| round.1.middle)),
            short(of(|round| round.1.high)),
            median(&ratios),
            ratios.len(),
            self.rounds.len(),
            self.goal,
        );
    }
}

/// The head of a table of rows.
pub(crate) fn print_head(title: &str, unit: &str) {
    println!("{title}\n");
    println!("| | reference {unit} | {unit} | p99 {unit} | ratio [least–most] | rounds | goal |");
    println!("|---|---|---|---|---|---|---|");
}

/// A number with as many digits as mean something.
pub(crate) fn short(value: f64) -> String {
    if value.is_nan() {
        "–".to_owned()
    } else if value >= 1_000_000.0 {
        format!("{:.2} M", value / 1_000_000.0)
    } else if value >= 10_000.0 {
        format!("{:.0} k", value / 1_000.0)
    } else if value >= 100.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.1}")
    }
}
