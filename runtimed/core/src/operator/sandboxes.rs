//! How one sandbox is closed: what it said, what was seen of it, and what its attacks on itself
//! came to.

use super::{deny, reply};
use crate::effect::ReplyTo;
use crate::input::{SandboxId, Token};
use crate::ua::{Ua, UaOut, bounded};
use protocol::control::{Denial, Reply, SandboxReply};
use protocol::ctl::Role;

impl Ua {
    pub(super) fn answer_sandbox(&self, token: Token, name: &str, out: &mut Vec<UaOut>) {
        match self.sandbox_named(name) {
            Some(found) => reply(token, Reply::Sandbox(Box::new(found)), ReplyTo::Last, out),
            None => {
                let name = bounded(name, 128);
                let text = format!("no sandbox {name}; `runtimectl ps --all` lists them");
                deny(token, Denial::NotFound, text, out);
            }
        }
    }

    /// The sandbox with this number, of this role, or of this component.
    fn sandbox_named(&self, name: &str) -> Option<SandboxReply> {
        let by_number = || name.parse().ok().map(SandboxId);
        let by_role = || {
            let mut ours = self.sandboxes.iter().filter(|(_, sandbox)| sandbox.role != Role::Stub);
            ours.find(|(_, sandbox)| sandbox.role.name() == name).map(|(id, _)| *id)
        };
        let by_component = || self.components.get(&self.named(name)?)?.stub;
        let id = by_number().or_else(by_role).or_else(by_component)?;
        let sandbox = self.sandboxes.get(&id)?;
        let mut found = SandboxReply {
            id: id.0,
            address: self.sandbox_address(id).to_string(),
            role: sandbox.role.name().to_owned(),
            name: self.key_of(id).map_or(String::new(), |key| key.to_string()),
            pid: sandbox.pid,
            usable: sandbox.is_usable(),
            level: sandbox.level().name().to_owned(),
            minimum: self.settings.minimum.name().to_owned(),
            layers: sandbox.layers(),
            missing: sandbox.missing(),
            seen: sandbox.seen.clone(),
            ..SandboxReply::default()
        };
        if let Some(report) = &sandbox.report {
            found.attacks = report.proof.clone();
        }
        Some(found)
    }
}
