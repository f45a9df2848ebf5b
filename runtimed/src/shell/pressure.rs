//! Looks now and then how long somebody waited for memory, for the core to judge.

use super::hub::WeakHub;
use crate::limits::PRESSURE_EVERY;
use runtime_core::Input;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// What the kernel says of the whole machine; a unit may hide it.
const MACHINE: &str = "/proc/pressure/memory";
/// Bytes of such a file, with room to spare.
const BYTES: usize = 512;

/// The files that say it.
#[derive(Debug)]
pub(super) struct Gauges([Option<File>; 2]);

impl Gauges {
    /// Opens those that are there: the machine's, and the one of our own cgroup.
    pub(super) fn open(own: Option<&Path>) -> Self {
        Self([Some(Path::new(MACHINE)), own].map(|path| File::open(path?).ok()))
    }

    /// Microseconds that somebody waited, of each.
    fn read(&self) -> [Option<u64>; 2] {
        let [machine, own] = &self.0;
        [machine, own].map(|file| total(file.as_ref()?))
    }

    /// Whether none can be read.
    fn are_blind(&self) -> bool {
        self.read().iter().all(Option::is_none)
    }
}

fn total(file: &File) -> Option<u64> {
    let mut bytes = [0; BYTES];
    let read = file.read_at(&mut bytes, 0).ok()?;
    some(std::str::from_utf8(bytes.get(..read)?).ok()?)
}

/// The total of the line that counts whoever waits, not only all at once.
fn some(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("some "))?;
    let total = line.split(' ').find_map(|word| word.strip_prefix("total="))?;
    total.parse().ok()
}

/// Tells the core as long as the daemon lives.
pub(super) async fn watch(hub: WeakHub, gauges: Gauges) {
    if gauges.are_blind() {
        tracing::info!("this kernel does not say when memory is short: deploys go on then");
        return;
    }
    while let Some(hub) = hub.upgrade() {
        hub.borrow_mut().turn(Input::Stalled(gauges.read()));
        drop(hub);
        tokio::time::sleep(PRESSURE_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::{Gauges, some};

    #[test]
    fn the_total_of_some_is_read_and_nothing_else() {
        let text = "some avg10=0.29 avg60=0.07 avg300=0.01 total=27904661\n\
                    full avg10=0.00 avg60=0.00 avg300=0.00 total=6\n";
        assert_eq!(some(text), Some(27_904_661));
        assert_eq!(some("full avg10=0.00 total=6\n"), None);
        assert_eq!(some("some avg10=0.29 total=x\n"), None);
        assert_eq!(some(""), None);
    }

    #[test]
    fn a_file_is_read_again_each_time_and_one_that_is_not_there_says_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("memory.pressure");
        std::fs::write(&path, "some avg10=0.00 total=5\n").unwrap();
        let gauges = Gauges::open(Some(&path));
        assert_eq!(gauges.read()[1], Some(5));
        std::fs::write(&path, "some avg10=0.00 total=17\n").unwrap();
        assert_eq!(gauges.read()[1], Some(17));
        assert_eq!(Gauges::open(Some(&folder.path().join("none"))).read()[1], None);
        assert_eq!(Gauges::open(None).read()[1], None);
    }
}
