//! The jails that a row of the escape matrix is tried in, and the answers held against the table.

use crate::escapes::{self, Expected};
use crate::scene::{Scene, Who, each};
use std::time::{Duration, Instant};

/// Where a jail is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Whole,
    WithoutLandlock,
    WithoutNamespaces,
}

use Place::{Whole, WithoutLandlock, WithoutNamespaces};

pub(crate) const JAILS: [(Place, &str); 5] = [
    (Whole, "stub"),
    (Whole, "fetch"),
    (Whole, "net"),
    (WithoutLandlock, "stub"),
    (WithoutNamespaces, "stub"),
];
/// Another stub answers within this.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// What the filter answers.
const REFUSED: &[&str] = &["EPERM"];

impl Place {
    pub(crate) fn scene(self, who: Who, role: &str) -> Scene {
        let mut scene = match self {
            Whole => Scene::new(who, role),
            WithoutLandlock => Scene::without_landlock(who, role),
            WithoutNamespaces => Scene::without_namespaces(who, role),
        };
        let report = scene.read();
        let level =
            if self == WithoutNamespaces { "report Filtered " } else { "report Namespaces " };
        assert!(report.starts_with(level), "{self:?}: {report}");
        assert!(self != WithoutLandlock || report.contains("landlock: "), "{report}");
        let identity = scene.read();
        assert!(identity.starts_with("identity"), "{identity}");
        scene
    }

    const fn claim(self) -> &'static str {
        match self {
            Whole | WithoutLandlock => "namespaces",
            WithoutNamespaces => "filtered",
        }
    }
}

/// Runs `test` in a jail of every kind, and looks that it has hurt nobody.
pub(crate) fn in_every_jail(test: impl Fn(&mut Scene, &str, &str)) {
    let mut neighbour = Scene::confined(Who::User, "stub");
    each(|who| {
        for (place, role) in JAILS {
            let mut scene = place.scene(who, role);
            test(&mut scene, role, &format!("{who:?} {place:?} {role}"));
            let verdict = scene.verdict(place.claim());
            assert!(verdict.starts_with("verified "), "{who:?} {place:?} {role}: {verdict}");
        }
    });
    let asked = Instant::now();
    assert_eq!(neighbour.attempt("time"), "true", "another stub");
    assert!(asked.elapsed() < ANSWER_WITHIN, "another stub answers after {:?}", asked.elapsed());
}

/// Makes the attempts of a row, and holds the answers against what is expected.
pub(crate) fn made(scene: &mut Scene, row: u8, role: &str, argument: &str, of: &str) {
    let said = scene.attempt(&format!("escape {row} {role} filter {argument}"));
    let mut answers = said.split(' ').filter(|answer| !answer.is_empty());
    for attempt in escapes::attempts(row, role, true) {
        let answer = answers.next().unwrap_or_default();
        let (name, came) = answer.split_once('=').unwrap_or_else(|| panic!("{of}: {said}"));
        assert_eq!(name, attempt.name, "{of}: {said}");
        let right = match attempt.filter {
            Expected::Filtered => REFUSED,
            Expected::Passes(answers) => answers,
        };
        assert!(right.contains(&came), "{of}: {name} gave {came} instead of {right:?}");
    }
    assert_eq!(answers.next(), None, "{of}: {said}");
}

/// A row whose attempts need nothing but the number of the spawner.
pub(crate) fn row(number: u8) {
    in_every_jail(|scene, role, of| {
        let supervisor = scene.supervisor().to_string();
        made(scene, number, role, &supervisor, of);
    });
}
