//! Faults of a process that is out of what the kernel lends it: descriptors, processes.

use std::process::Command;

/// A bound of a living process, taken back when this is dropped. Only the soft limit is lowered, so
/// that whoever owns the process may raise it again.
#[derive(Debug)]
pub struct Lowered {
    pid: i32,
    resource: &'static str,
    before: String,
}

impl Lowered {
    /// So many descriptors, whether they are open already or not.
    pub fn descriptors(pid: i32, most: u32) -> Self {
        Self::to(pid, "nofile", most)
    }

    /// So many processes of its user, whosoever they are.
    pub fn processes(pid: i32, most: u32) -> Self {
        Self::to(pid, "nproc", most)
    }

    fn to(pid: i32, resource: &'static str, most: u32) -> Self {
        let option = format!("--{resource}");
        let before = prlimit(pid, &["--output", "SOFT", "--noheadings", "--raw", &option]);
        let lowered = Self { pid, resource, before: before.trim().to_owned() };
        lowered.set(&most.to_string());
        lowered
    }

    fn set(&self, value: &str) {
        prlimit(self.pid, &[&format!("--{}={value}:", self.resource)]);
    }
}

impl Drop for Lowered {
    fn drop(&mut self) {
        // After a panic it may be gone.
        if !std::thread::panicking() {
            self.set(&self.before);
        }
    }
}

fn prlimit(pid: i32, arguments: &[&str]) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let id = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a line of it");
        line.split_whitespace().next().expect("an id").to_owned()
    };
    let (uid, gid) = (id("Uid:"), id("Gid:"));
    let mut command = Command::new("prlimit");
    if nix::unistd::geteuid().is_root() && uid != "0" {
        // Root without all its rights may not, and the user itself may.
        command = Command::new("setpriv");
        command.args([&format!("--reuid={uid}"), &format!("--regid={gid}"), "--clear-groups"]);
        command.arg("prlimit");
    }
    let output = command.arg("--pid").arg(pid.to_string()).args(arguments).output();
    let output = output.expect("prlimit runs");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("a number")
}
