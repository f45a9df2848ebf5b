//! A disk that is small, full, or read-only: `state` of a daemon is a file system of its own, in a
//! mount namespace of its own, which nobody else sees and which ends with the test.

use crate::skip::skipped;
use crate::wait_for;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Leaves a shell behind that may mount, and does what it is told until nobody can tell it any
/// more; and becomes the test, which has no more rights than whoever started it.
const INSIDE: &str = r#"
mount -t tmpfs none /mnt || exit 99
mkfifo /mnt/orders
( while read -r order; do eval "$order"; done ) </mnt/orders >/dev/null 2>&1 &
exec 9>/mnt/orders
exec setpriv --inh-caps=-all --ambient-caps=-all "$1" "$2" --exact --nocapture
"#;

/// Status of [`INSIDE`] where nothing can be mounted.
const NO_MOUNT: i32 = 99;

/// Where a test that runs inside tells its shell what to do.
const ORDERS: &str = "/proc/self/fd/9";

/// Set inside.
const VARIABLE: &str = "RUNTIMED_TEST_INSIDE";

/// Takes every byte of the disk, the last ones in small pieces.
const FILL: &str = "dd if=/dev/zero of=ballast bs=4096; dd if=/dev/zero of=crumbs bs=1";

/// Runs the test of this thread once more, by itself, in namespaces of its own in which a shell
/// beside it may mount; `test` is run there.
pub fn where_one_may_mount(test: impl FnOnce()) {
    if std::env::var_os(VARIABLE).is_some() {
        return test();
    }
    let thread = std::thread::current();
    let name = thread.name().expect("a test has a name");
    let own = std::env::current_exe().expect("a test knows its own path");
    let mut command = Command::new("unshare");
    if !nix::unistd::geteuid().is_root() {
        command.args(["--map-current-user", "--keep-caps"]);
    }
    command.args(["--mount", "sh", "-c", INSIDE, "sh"]).arg(own).arg(name).env(VARIABLE, "1");
    let output = command.output().expect("unshare runs");
    let words = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    let words = words.join("\n");
    if output.status.code() == Some(NO_MOUNT) || words.starts_with("\nunshare: ") {
        return skipped(&format!("nothing can be mounted: {}", words.trim()));
    }
    assert!(output.status.success(), "{words}");
}

/// Has the shell do this in the folder `state` of a root, and waits until it is done.
fn order(root: &Path, text: &str) {
    have(root, &format!("cd '{}/state'; {text}; cd /", root.display()));
}

/// Has the shell do this, and waits until it is done and says so in this folder.
pub(super) fn have(folder: &Path, text: &str) {
    let done = folder.join("done");
    let line = format!("{text}; touch '{}'\n", done.display());
    let mut orders = OpenOptions::new().write(true).open(ORDERS).expect("the shell of the test");
    orders.write_all(line.as_bytes()).expect("the shell reads");
    wait_for(text, || done.exists().then_some(()));
    std::fs::remove_file(done).expect("our file");
}

/// The folder `state` of a root, a disk of its own until this is dropped.
#[derive(Debug)]
pub struct Disk {
    root: PathBuf,
}

impl Disk {
    /// Makes one of this size (`256k`), in which `first` is done by a shell.
    pub fn mount(root: &Path, size: &str, first: &str) -> Self {
        let state = root.join("state");
        std::fs::DirBuilder::new().mode(0o700).create(&state).expect("a folder");
        let options = format!("size={size},mode=700");
        order(root, &format!("mount -t tmpfs -o {options} none . && cd \"$PWD\" && {first}"));
        Self { root: root.to_owned() }
    }

    /// Fills it to the last byte.
    pub fn fill(&self) {
        order(&self.root, FILL);
    }

    /// Gives back what [`Self::fill`] took.
    pub fn empty(&self) {
        order(&self.root, "rm -f ballast crumbs");
    }

    /// What is on it.
    pub fn entries(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.root.join("state")).expect("the disk").flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Else the root could not be removed.
        order(&self.root, "umount -l .");
    }
}
