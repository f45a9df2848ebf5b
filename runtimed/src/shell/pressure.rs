//! Looks now and then how short memory is, for the core to judge.

use super::hub::WeakHub;
use crate::limits::PRESSURE_EVERY;
use runtime_core::{Input, Memory};
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// Where the kernel says how long somebody of the whole machine waited: a unit may hide the first.
const STALLS: [&str; 2] = ["/proc/pressure/memory", "/sys/fs/cgroup/memory.pressure"];
/// How much is left, in the same order.
const ROOM: [&str; 2] = ["/proc/meminfo", "/sys/devices/system/node/node0/meminfo"];
/// Bytes of such a file, with room to spare.
const BYTES: usize = 8_192;

/// The files that say it.
#[derive(Debug)]
pub(super) struct Gauges {
    stalls: Option<File>,
    room: Option<File>,
    own: Option<Own>,
}

/// Those of our own cgroup.
#[derive(Debug)]
struct Own {
    stalls: File,
    /// What it may use, and what it uses.
    most: Option<File>,
    used: Option<File>,
}

impl Gauges {
    /// Opens those that are there: the machine's, and those of our own cgroup.
    pub(super) fn open(own: Option<&Path>) -> Self {
        let first = |paths: [&str; 2]| paths.iter().find_map(|path| File::open(path).ok());
        let own = own.and_then(|folder| {
            let open = |name: &str| File::open(folder.join(name)).ok();
            let stalls = open("memory.pressure")?;
            Some(Own { stalls, most: open("memory.max"), used: open("memory.current") })
        });
        Self { stalls: first(STALLS), room: first(ROOM), own }
    }

    /// The machine, and our own cgroup.
    fn read(&self) -> [Option<Memory>; 2] {
        let free = self.room.as_ref().and_then(|file| available(&text(file)?));
        let of = |stalls: &File, free_percent| {
            Some(Memory { stalled_us: some(&text(stalls)?)?, free_percent })
        };
        let machine = self.stalls.as_ref().and_then(|stalls| of(stalls, free));
        // A cgroup without a bound has what the machine has.
        let own = self.own.as_ref().and_then(|own| of(&own.stalls, own.free().or(free)));
        [machine, own]
    }
}

impl Own {
    fn free(&self) -> Option<u64> {
        let number = |file: &Option<File>| text(file.as_ref()?)?.trim().parse::<u64>().ok();
        let (most, used) = (number(&self.most)?, number(&self.used)?);
        percent(most.saturating_sub(used), most)
    }
}

fn percent(part: u64, whole: u64) -> Option<u64> {
    part.saturating_mul(100).checked_div(whole)
}

fn text(file: &File) -> Option<String> {
    let mut bytes = [0; BYTES];
    let read = file.read_at(&mut bytes, 0).ok()?;
    String::from_utf8(bytes.get(..read)?.to_vec()).ok()
}

/// The total of the line that counts whoever waits, not only all at once.
fn some(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("some "))?;
    let total = line.split(' ').find_map(|word| word.strip_prefix("total="))?;
    total.parse().ok()
}

/// Percent of the memory that could be had: as the kernel reckons it, or, of a part of the machine,
/// what is free or holds files.
fn available(text: &str) -> Option<u64> {
    let of = |name: &str| {
        let line = text.lines().find(|line| line.contains(name))?;
        line.split_ascii_whitespace().rev().nth(1)?.parse::<u64>().ok()
    };
    let parts = || of(" MemFree:")?.checked_add(of(" FilePages:")?);
    percent(of("MemAvailable:").or_else(parts)?, of("MemTotal:")?)
}

/// Tells the core as long as the daemon lives.
pub(super) async fn watch(hub: WeakHub, gauges: Gauges) {
    if gauges.read().iter().all(Option::is_none) {
        tracing::info!("this kernel does not say when memory is short: deploys go on then");
        return;
    }
    while let Some(hub) = hub.upgrade() {
        hub.borrow_mut().turn(Input::Memory(gauges.read()));
        drop(hub);
        tokio::time::sleep(PRESSURE_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::{Gauges, Memory, available, some};
    use std::fs::write;

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
    fn what_is_available_is_read_of_the_machine_or_of_its_first_node() {
        let machine = "MemTotal: 24683520 kB\nMemFree: 9 kB\nMemAvailable: 6170880 kB\n";
        assert_eq!(available(machine), Some(25));
        let node = "Node 0 MemTotal:  1000 kB\nNode 0 MemFree:  50 kB\nNode 0 MemUsed:  950 kB\n\
                    Node 0 Active(file):  3 kB\nNode 0 FilePages:  70 kB\n";
        assert_eq!(available(node), Some(12));
        assert_eq!(available("MemTotal: 0 kB\nMemAvailable: 0 kB\n"), None);
        assert_eq!(available("nonsense"), None);
    }

    #[test]
    fn the_files_of_a_cgroup_are_read_again_each_time_and_none_say_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| write(folder.path().join(name), text).unwrap();
        assert_eq!(Gauges::open(Some(folder.path())).read()[1], None);
        put("memory.pressure", "some avg10=0.00 total=5\n");
        put("memory.max", "max\n");
        put("memory.current", "900\n");
        let gauges = Gauges::open(Some(folder.path()));
        let [machine, own] = gauges.read();
        assert_eq!(own.unwrap().stalled_us, 5);
        if let Some(machine) = machine {
            let free = (machine.free_percent.unwrap(), own.unwrap().free_percent.unwrap());
            assert!(
                free.0.abs_diff(free.1) <= 1,
                "without a bound, what the machine has: {free:?}"
            );
        }
        put("memory.pressure", "some avg10=0.00 total=17\n");
        put("memory.max", "1000\n");
        assert_eq!(gauges.read()[1], Some(Memory { stalled_us: 17, free_percent: Some(10) }));
        assert_eq!(Gauges::open(None).read()[1], None);
    }
}
