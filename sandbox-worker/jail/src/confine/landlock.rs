//! Landlock, where the kernel has it: no file of any kind, no TCP, no signal or abstract socket
//! outwards. A second wall behind the private root and the filter, never the only one.

use crate::{Profile, breach};
use landlock::{
    ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible as _, LandlockStatus, NetPort,
    Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetStatus, Scope,
};

/// The newest rules that were tested; an older kernel takes what it knows of them.
const TESTED: ABI = ABI::V7;

/// Restricts the calling thread, which is the only one; `bound` is the port that may still be bound.
/// `Some` names what the kernel lacks.
///
/// # Errors
/// It is not in force.
pub(super) fn restrict(profile: Profile, bound: Option<u16>) -> Result<Option<String>, String> {
    let network = match profile {
        Profile::Stub | Profile::Fetch => AccessNet::from_all(TESTED),
        // It connects wherever the daemon granted.
        Profile::Net => AccessNet::BindTcp.into(),
    };
    if breach::lacks("landlock") {
        return Ok(None);
    }
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(TESTED))
        .and_then(|rules| rules.handle_access(network))
        .and_then(|rules| rules.scope(Scope::from_all(TESTED)))
        .and_then(Ruleset::create)
        .and_then(|rules| {
            let ports = bound.map(|port| Ok(NetPort::new(port, AccessNet::BindTcp)));
            rules.add_rules(ports)
        })
        // It would take new privileges away by itself.
        .map(|rules| rules.no_new_privs(!breach::lacks("no-new-privs")))
        .and_then(landlock::RulesetCreated::restrict_self)
        .map_err(|error| error.to_string())?;
    match status.ruleset {
        RulesetStatus::FullyEnforced => Ok(None),
        RulesetStatus::PartiallyEnforced => {
            Ok(Some(format!("the kernel has only {}", shown(&status.landlock))))
        }
        RulesetStatus::NotEnforced => Err(shown(&status.landlock)),
    }
}

fn shown(status: &LandlockStatus) -> String {
    match status {
        LandlockStatus::NotEnabled => "switched off in this kernel".to_owned(),
        LandlockStatus::NotImplemented => "not built into this kernel".to_owned(),
        LandlockStatus::Available { effective_abi, .. } => format!("version {effective_abi:?}"),
    }
}
