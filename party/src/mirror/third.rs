//! Two parties compare what the third showed them: a log of which each saw another version has two checkpoints under one key.

use std::sync::Arc;

use tally_proto::ids::{Role, RoleExt as _};
use tally_proto::refusal::Refusal;
use tally_proto::wire;

use super::follow::answer;
use super::serve::open_note;
use crate::elections::Election;
use crate::party::Party;
use crate::store::{StoreError, mirrors};

impl Party {
    /// Asks `peer` for the third party's checkpoint under which it stands there (its mirror has `cosigned_size` entries), and compares it with this
    /// party's mirror as soon as that is as long. Returns whether nothing is left to be compared.
    pub(super) async fn compare_third(
        self: &Arc<Self>,
        election: &Arc<Election>,
        peer: Role,
        cosigned_size: u64,
    ) -> Result<bool, Refusal> {
        let Some(third) = self.role.third(peer) else {
            return Ok(true);
        };
        let number = election.number();
        let compared = self.following.heard(peer, |heard| {
            heard.compared.get(&number).copied().unwrap_or_default()
        });
        let own = self
            .blocking(move |party| {
                Ok(party
                    .store
                    .read(|tx| Ok::<_, StoreError>(mirrors::state(tx, number, third)?.size()))?)
            })
            .await?;
        if cosigned_size <= compared || own < cosigned_size {
            return Ok(cosigned_size <= compared);
        }
        let request = wire::ElectionRef {
            election: election.manifest().election().as_str().to_owned(),
        };
        let theirs = answer(peer, self.bounded_client(peer)?.cosigned(request))
            .await?
            .note;
        let keys = election.manifest().party_keys();
        // What the third party has not signed proves nothing, whoever carries it.
        let Some((size, root)) = open_note(&theirs, election.manifest().election(), third, &keys) else {
            return Ok(true);
        };
        let (here, note) = self
            .blocking(move |party| {
                Ok(party.store.read(|tx| {
                    Ok::<_, StoreError>((
                        mirrors::root(tx, number, third, size)?,
                        mirrors::note(tx, number, third)?,
                    ))
                })?)
            })
            .await?;
        match (here, note) {
            // It has moved on meanwhile and is longer than here: compared the next time.
            (None, _) | (_, None) => return Ok(false),
            (Some(here), Some(note)) if here != root => {
                self.convict_rewriter(election, third, [&note, &theirs]).await?;
            }
            _ => {}
        }
        self.following.heard(peer, |heard| {
            heard.compared.insert(number, size);
        });
        Ok(true)
    }
}
