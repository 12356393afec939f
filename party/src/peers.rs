//! Connections to the two other parties, made when first used and again when lost.

use tally_proto::connect::{ConnectError, Dial};
use tally_proto::ids::{Role, RoleExt as _};
use tally_proto::pki::Leaf;
use tonic::transport::Channel;

use crate::keys::Identities;

/// One lazily connected channel to each other party's peer listener.
#[derive(Clone, Debug)]
pub struct Peers([Option<Channel>; 3]);

impl Peers {
    /// Channels of party `own`, which shows `leaf`. Nothing is dialled yet.
    ///
    /// # Errors
    /// [`ConnectError`]: an address or a certificate that the transport cannot use.
    pub fn new(own: Role, identities: &Identities, leaf: &Leaf) -> Result<Peers, ConnectError> {
        let mut channels = [None, None, None];
        for role in [own.next(), own.prev()] {
            let identity = identities.party(role);
            let dial = Dial {
                address: identity.peer_address(),
                anchor: identity.anchor(),
                leaf: Some(leaf),
            };
            channels[role.slot()] = Some(dial.channel()?);
        }
        Ok(Peers(channels))
    }

    /// The channel to `role`; `None` for this party itself. Wrap it with [`tally_proto::connect::peer`].
    pub fn channel(&self, role: Role) -> Option<Channel> {
        self.0[role.slot()].clone()
    }
}
