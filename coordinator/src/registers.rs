//! Registers of enrolled credentials: what elections in which people enrol by card need before they are defined.
//!
//! A register is agreed on once, with the three parties: each pair of neighbours comes to hold a key of offsets, and the coordinator
//! collects the commitments to the three keys (see [`tally_proto::offsets`]). Every election that names the register carries them in its
//! manifest, and a party takes no manifest with other commitments than those of its own keys.
//!
//! ```text
//! registers/<id>.toml
//!   register = "<id>"
//!   commitments = ["64 hexadecimal digits", ...]       C_1, C_2, C_3
//! ```

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tally_proto::identity::PartyIdentity;
use tally_proto::ids::{Hash32, RegisterId, Role, RoleExt as _};
use tally_proto::reason::Reason;
use tally_proto::refusal::Refusal;
use tally_proto::wire;

use crate::directory::Directory;
use crate::error::{Error, StoredProblem};
use crate::files;
use crate::parties::{Parties, Party, PartyError, Patience};
use crate::progress::Progress;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RegisterFile {
    register: String,
    commitments: [String; 3],
}

/// Has the three parties draw and exchange the keys of a register, and keeps their commitments. The same again gives the same.
///
/// # Errors
/// [`Error::Parties`]: a party that does not answer; [`Error::OffsetCopies`]: two parties name different commitments for the key that they
/// hold together; [`Error::Stored`]: the register is known here with other commitments.
pub async fn agree(
    directory: &Directory,
    register: &RegisterId,
    identities: &[PartyIdentity; 3],
    patience: Patience,
    progress: &dyn Progress,
) -> Result<[Hash32; 3], Error> {
    let parties = Parties::dial(identities, directory.leaf())?;
    let ask = async |party: &Party| commitments(party, register, patience, progress).await;
    // The first time each draws its own key; then each neighbour has it to give.
    parties.all(ask).await.map_err(Error::Parties)?;
    let told = parties.all(ask).await.map_err(Error::Parties)?;
    let mut agreed = [Hash32([0; 32]); 3];
    for j in Role::ALL {
        let by = |party: Role| {
            let told = &told[party.slot()];
            told.iter().find(|(of, _)| *of == j).map(|(_, c)| *c)
        };
        match (by(j), by(j.prev())) {
            (Some(own), Some(copy)) if own == copy => agreed[j.slot()] = own,
            _ => {
                return Err(Error::OffsetCopies {
                    register: register.clone(),
                    pair: [j.prev(), j],
                });
            }
        }
    }
    keep(directory, register, &agreed)?;
    Ok(agreed)
}

/// The three parties' identities from their files, in whatever order.
///
/// # Errors
/// [`Error::File`], [`Error::Identity`], also where two files are of one party.
pub fn identities(files: &[PathBuf]) -> Result<[PartyIdentity; 3], Error> {
    let mut read = Vec::with_capacity(files.len());
    for path in files {
        let identity =
            PartyIdentity::from_toml(&files::read_text(path)?).map_err(|source| Error::Identity {
                place: path.display().to_string(),
                source,
            })?;
        read.push(identity);
    }
    read.sort_by_key(|identity| identity.role().slot());
    let roles: Vec<Role> = read.iter().map(PartyIdentity::role).collect();
    match <[PartyIdentity; 3]>::try_from(read) {
        Ok(three) if roles == Role::ALL => Ok(three),
        _ => Err(Error::PartyFiles { found: roles }),
    }
}

async fn commitments(
    party: &Party,
    register: &RegisterId,
    patience: Patience,
    progress: &dyn Progress,
) -> Result<Vec<(Role, Hash32)>, PartyError> {
    let reply = party
        .ask(patience, progress, async || {
            let of = wire::RegisterRef {
                register: register.as_str().into(),
            };
            Ok(party.control().offset_commitments(of).await?.into_inner())
        })
        .await?;
    let held = reply.offsets.iter().map(|of| {
        let j = Role::from_number(of.index)?;
        Ok((j, Hash32::from_slice(&of.commitment)?))
    });
    held.collect::<Result<_, tally_proto::ids::IdError>>()
        .map_err(|error| party.error(Refusal::new(Reason::MessageMalformed, error)))
}

fn keep(directory: &Directory, register: &RegisterId, agreed: &[Hash32; 3]) -> Result<(), Error> {
    let path = directory.register_file(register);
    if path.exists() {
        return if read(directory, register)? == *agreed {
            Ok(())
        } else {
            Err(Error::Stored {
                path,
                problem: StoredProblem::OtherOffsets,
            })
        };
    }
    let file = RegisterFile {
        register: register.as_str().into(),
        commitments: agreed.map(|c| c.to_string()),
    };
    let text = toml::to_string(&file).expect("four strings make a TOML file");
    if let Some(parent) = path.parent() {
        files::directory(parent)?;
    }
    Ok(files::create(&path, text.as_bytes())?)
}

/// C_1, C_2, C_3 of a register that was agreed on.
///
/// # Errors
/// [`Error::NoRegister`]: it was not; [`Error::Stored`]: the file is damaged.
pub fn read(directory: &Directory, register: &RegisterId) -> Result<[Hash32; 3], Error> {
    let path = directory.register_file(register);
    if !path.exists() {
        return Err(Error::NoRegister {
            register: register.clone(),
        });
    }
    parsed(&path, register).ok_or(Error::Stored {
        path,
        problem: StoredProblem::Register,
    })
}

fn parsed(path: &Path, register: &RegisterId) -> Option<[Hash32; 3]> {
    let file: RegisterFile = toml::from_str(&files::read_text(path).ok()?).ok()?;
    let hashes: Vec<Hash32> = file.commitments.iter().filter_map(|c| c.parse().ok()).collect();
    (file.register == register.as_str())
        .then(|| hashes.try_into().ok())
        .flatten()
}
