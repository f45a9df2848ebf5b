//! The command line. Every start of a sandbox reads one, so no more than that is done here.

use crate::port;
use lexopt::{Arg, Parser, ValueExt as _};
use protocol::ctl::Level;
use std::net::SocketAddr;
use std::os::fd::RawFd;

/// What `--help` prints.
const HELP: &str = "\
The confined process of runtimed; started by runtimed, not by hand.

Usage: sandbox-worker --role <spawner|net|fetch|stub|probe> [options]

      --link-fd <number>   the inherited link to the daemon [default: 3]
      --image-fd <number>  the inherited image that workers are started from (spawner)
      --listen <address>   where runtimes of others connect to this one (net)
      --of <pid>           process whose cgroup and limits count (probe)
      --minimum <level>    level that is demanded: none, filtered, namespaces or full (probe)
                           [default: namespaces]
  -h, --help
  -V, --version
";

/// What this process is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RoleName {
    Spawner,
    Net,
    Fetch,
    Stub,
    Probe,
}

/// What the command line says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Arguments {
    pub(crate) role: RoleName,
    /// Number of the inherited link to the daemon.
    pub(crate) link_fd: RawFd,
    /// Number of the inherited image; the spawner's.
    pub(crate) image_fd: Option<RawFd>,
    /// Where runtimes of others connect; the net role's.
    pub(crate) listen: Option<SocketAddr>,
    /// Whose cgroup and limits count; the probe's.
    pub(crate) of: Option<i32>,
    /// The level that is demanded; the probe's.
    pub(crate) minimum: Level,
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asked {
    /// To be this.
    Run(Arguments),
    /// To print this.
    Print(String),
}

/// Reads the arguments behind the program's name.
///
/// # Errors
/// Something is missing, unknown or not of its kind.
pub(crate) fn read(mut parser: Parser) -> Result<Asked, lexopt::Error> {
    let mut role = None;
    let mut read = Arguments {
        role: RoleName::Stub,
        link_fd: port::LINK_FD,
        image_fd: None,
        listen: None,
        of: None,
        minimum: Level::Namespaces,
    };
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Long("role") => role = Some(parser.value()?.parse_with(role_of)?),
            Arg::Long("link-fd") => read.link_fd = parser.value()?.parse()?,
            Arg::Long("image-fd") => read.image_fd = Some(parser.value()?.parse()?),
            Arg::Long("listen") => read.listen = Some(parser.value()?.parse()?),
            Arg::Long("of") => read.of = Some(parser.value()?.parse()?),
            Arg::Long("minimum") => read.minimum = parser.value()?.parse_with(level)?,
            Arg::Long("help") | Arg::Short('h') => return Ok(Asked::Print(HELP.to_owned())),
            Arg::Long("version") | Arg::Short('V') => {
                return Ok(Asked::Print(format!("sandbox-worker {}\n", env!("CARGO_PKG_VERSION"))));
            }
            other => return Err(other.unexpected()),
        }
    }
    read.role = role.ok_or("--role is missing")?;
    Ok(Asked::Run(read))
}

fn role_of(word: &str) -> Result<RoleName, String> {
    match word {
        "spawner" => Ok(RoleName::Spawner),
        "net" => Ok(RoleName::Net),
        "fetch" => Ok(RoleName::Fetch),
        "stub" => Ok(RoleName::Stub),
        "probe" => Ok(RoleName::Probe),
        _ => Err(format!("{word} is no role")),
    }
}

fn level(word: &str) -> Result<Level, String> {
    [Level::None, Level::Filtered, Level::Namespaces, Level::Full]
        .into_iter()
        .find(|level| level.name() == word)
        .ok_or_else(|| format!("{word} is no level"))
}

#[cfg(test)]
mod tests {
    use super::{Asked, HELP, RoleName, read};
    use lexopt::Parser;
    use protocol::ctl::Level;

    #[test]
    fn what_the_spawner_and_the_doctor_say_is_understood() {
        let Ok(Asked::Run(stub)) = read(Parser::from_args(["--role", "stub"])) else {
            panic!("no stub");
        };
        assert_eq!((stub.role, stub.link_fd, stub.minimum), (RoleName::Stub, 3, Level::Namespaces));
        let net = ["--role=net", "--link-fd", "7", "--listen", "127.0.0.1:7443"];
        let Ok(Asked::Run(net)) = read(Parser::from_args(net)) else { panic!("no net") };
        assert_eq!((net.role, net.link_fd), (RoleName::Net, 7));
        assert_eq!(net.listen, Some("127.0.0.1:7443".parse().unwrap()));
        let probe = ["--role", "probe", "--of", "12", "--minimum", "full"];
        let Ok(Asked::Run(probe)) = read(Parser::from_args(probe)) else { panic!("no probe") };
        assert_eq!((probe.of, probe.minimum), (Some(12), Level::Full));
    }

    #[test]
    fn help_names_every_argument() {
        assert_eq!(read(Parser::from_args(["--help"])).unwrap(), Asked::Print(HELP.to_owned()));
        for name in ["role", "link-fd", "image-fd", "listen", "of", "minimum", "version"] {
            assert!(HELP.contains(&format!("--{name}")), "{name}");
        }
    }
}
