//! How soon a spawner that died is started again, and who waits for that.

use crate::limits::{SPAWNER_LASTING, SPAWNER_RESTS};
use protocol::ctl::Role;
use runtime_core::SandboxId;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The rest of a spawner that dies again and again.
#[derive(Debug, Default)]
pub(super) struct Rest {
    deaths: usize,
    started: Option<Instant>,
    until: Option<Instant>,
    /// Workers that are wanted meanwhile, each with its role.
    pub(super) waiting: BTreeMap<SandboxId, Role>,
}

impl Rest {
    /// It was started.
    pub(super) fn started(&mut self, now: Instant) {
        (self.started, self.until) = (Some(now), None);
    }

    /// It died; for how long it rests. The first one after a long life does not rest at all.
    pub(super) fn died(&mut self, now: Instant) -> Duration {
        let lasted = self.started.is_none_or(|at| now.duration_since(at) >= SPAWNER_LASTING);
        let deaths = if lasted { 0 } else { self.deaths };
        let rest = SPAWNER_RESTS.get(deaths).or(SPAWNER_RESTS.last()).copied().unwrap_or_default();
        self.deaths = deaths.saturating_add(1);
        self.until = now.checked_add(rest);
        rest
    }

    /// What is left of it.
    pub(super) fn left(&self, now: Instant) -> Duration {
        self.until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::{Rest, SPAWNER_LASTING, SPAWNER_RESTS};
    use std::time::{Duration, Instant};

    #[test]
    fn each_death_soon_after_a_start_is_followed_by_a_longer_rest() {
        let (mut rest, mut now) = (Rest::default(), Instant::now());
        rest.started(now);
        for expected in SPAWNER_RESTS.iter().chain(SPAWNER_RESTS.last()) {
            assert_eq!(rest.died(now), *expected);
            assert_eq!(rest.left(now), *expected);
            now += *expected;
            assert_eq!(rest.left(now), Duration::ZERO);
            rest.started(now);
        }
        now += SPAWNER_LASTING;
        assert_eq!(rest.died(now), SPAWNER_RESTS[0], "it lived long");
    }
}
