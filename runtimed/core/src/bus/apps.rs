//! Applications: what they may claim (CONTRACT §3), and how they come.

use super::{LinkKind, Peer};
use crate::core::Core;
use crate::effect::Effect;
use crate::input::LinkId;
use crate::limits::{APP_NAME_BYTES, APPS_MAX, CLAIMS_PER_APP};
use crate::store::{Change, ClaimRow, Record, RecordKey, Table};
use crate::ua::{Happened, Refusal, bounded};
use protocol::address::Address;
use protocol::reason::Reason;
use std::sync::Arc;

/// An application that wants in.
pub(crate) struct Joining {
    pub(crate) link: LinkId,
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) addresses: Vec<String>,
}

impl Core {
    /// An application said hello.
    pub(crate) fn app_joined(&mut self, joining: &Joining) {
        let link = joining.link;
        match self.check_claims(joining) {
            Ok(addresses) => self.let_in(joining, &addresses),
            Err(refusal) => {
                let (reason, desc) = (refusal.reason, refusal.desc);
                self.bus.out.push(Effect::Reject { link, reason, desc });
            }
        }
    }

    /// All or nothing.
    fn check_claims(&self, joining: &Joining) -> Result<Vec<Address>, Refusal> {
        if self.bus.stopping {
            return Err(Refusal::new(Reason::Stopping, "the runtime is stopping"));
        }
        let apps = self.bus.links.values().filter(|link| link.is_app()).count();
        if apps >= APPS_MAX || self.bus.links.contains_key(&joining.link) {
            return Err(Refusal::new(Reason::Overloaded, "too many applications"));
        }
        if joining.addresses.len() > CLAIMS_PER_APP {
            let text = format!("at most {CLAIMS_PER_APP} addresses a connection");
            return Err(Refusal::new(Reason::TooManyAddresses, text));
        }
        let mut claimed: Vec<Address> = Vec::new();
        for text in &joining.addresses {
            let shown = bounded(text, 128);
            let address = Address::parse(text)
                .map_err(|e| Refusal::new(Reason::BadAddress, format!("{shown}: {e}")))?;
            let claimable = address.class().is_claimable()
                && address.host() == self.settings.domain
                && !address.path().is_empty();
            if !claimable {
                let home = &self.settings.domain;
                let text = format!(
                    "{shown}: an application may claim hyperty and data-object addresses of {home} with a path"
                );
                return Err(Refusal::new(Reason::NotClaimable, text));
            }
            let text = address.as_str();
            if !self.bus.names.is_free_for(text, joining.uid)
                || self.is_allocated_to_others(text, joining.uid)
                || self.ua.is_about_hyperty(text)
            {
                let text = format!("{shown} belongs to somebody else");
                return Err(Refusal::new(Reason::AddressTaken, text));
            }
            if !claimed.contains(&address) {
                claimed.push(address);
            }
        }
        Ok(claimed)
    }

    fn let_in(&mut self, joining: &Joining, claimed: &[Address]) {
        let (link, uid) = (joining.link, joining.uid);
        let name = bounded(&joining.name, APP_NAME_BYTES);
        self.bus.add_link(link, LinkKind::App { name: name.clone(), uid });
        for address in claimed {
            self.bus.names.unreserve(address.as_str());
            self.give(link, address.as_str());
            let seq = self.bus.names.next_order();
            self.keep_claim(address.as_str(), uid, seq);
            for resource in self.bus.subscriptions.rejoin(address.as_str(), link, uid) {
                self.abandoned(&resource);
            }
            self.connected(address.as_str(), true);
            self.registered(address.as_str(), true);
        }
        let number = self.bus.next_serial();
        let address = format!("{}/app/{number}", self.bus.runtime);
        self.give(link, &address);
        let addresses: Vec<String> = claimed.iter().map(ToString::to_string).collect();
        let detail = format!("uid {uid}, {} addresses", addresses.len());
        self.bus.out.push(Effect::Welcome { link, address, addresses });
        let happened = Happened::new("app-joined", &name, &detail);
        self.ua.event(self.bus.now, happened, &mut self.ua_out);
    }

    /// Keeps an address for the user of a connection that ended.
    pub(crate) fn reserve(&mut self, address: &str, uid: u32) {
        let seq = self.bus.names.next_order();
        self.keep_claim(address, uid, seq);
        self.reserve_as(address, uid, seq);
    }

    fn reserve_as(&mut self, address: &str, uid: u32, seq: u64) {
        if let Some(oldest) = self.bus.names.reserve(address, uid, seq) {
            self.persist(Change::Delete(RecordKey::new(Table::Claim, &*oldest)));
            self.address_gone(&oldest);
        }
    }

    fn keep_claim(&mut self, url: &str, uid: u32, seq: u64) {
        self.persist(Change::Put(Record::Claim(ClaimRow { url: url.to_owned(), uid, seq })));
    }

    /// A claim that was kept: its application is not here yet. One of another home domain waits in
    /// the store for that domain to come back.
    pub(crate) fn restore_claim(&mut self, row: &ClaimRow) {
        let at_home = Address::parse(&row.url)
            .is_ok_and(|a| a.as_str() == row.url && a.host() == self.settings.domain);
        if at_home {
            self.reserve_as(&row.url, row.uid, row.seq);
        }
    }

    /// Makes a link the owner of an address; false if somebody else is.
    pub(crate) fn give(&mut self, to: LinkId, address: &str) -> bool {
        let Some(link) = self.bus.links.get_mut(&to) else { return false };
        let given = self.bus.names.register(address, Peer::Link(to));
        if given {
            link.addresses.push(Arc::from(address));
        }
        given
    }
}
