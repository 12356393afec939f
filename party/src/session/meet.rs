//! How the two ends of a pair come together: the lower index dials, contributions are revealed and checked, the pair's seed is made.

use futures::StreamExt as _;
use tally_mpc::{Binding, Seed, Seeds};
use tally_proto::connect;
use tally_proto::ids::{Role, RoleExt as _};
use tonic::transport::Endpoint;

use super::channel::NetChannel;
use super::fate::{Fate, Loss};
use super::link::{Farewell, Link, Opener};
use super::lobby::Lobby;
use super::opening::{Contribution, pair_seed};
use super::run::Surroundings;
use super::start::{Prepared, Starts};
use super::transport;

/// How to reach the other two parties; the place of this one stays empty.
pub type Endpoints = [Option<Endpoint>; 3];

/// A session whose two pairs have met: everything the engine needs besides its input.
pub(crate) struct Met {
    pub(crate) channel: NetChannel,
    pub(crate) fate: Fate,
    pub(crate) seeds: Seeds,
    pub(crate) binding: Binding,
    /// What the next and the previous party contributed.
    pub(crate) revealed: [Contribution; 2],
}

/// Meets both neighbours, within `pace.meet`.
///
/// # Errors
/// The first neighbour that could not be met, and why, with what is still to be said to those that were. What goes wrong later is told by
/// the fate.
pub(crate) async fn meet(
    prepared: &Prepared,
    starts: &Starts,
    surroundings: Surroundings<'_>,
    fate: &Fate,
) -> Result<Met, (Option<Role>, Loss, Farewell)> {
    let farewell = Farewell::default();
    match both(prepared, starts, surroundings, fate, &farewell).await {
        Ok(met) => Ok(met),
        Err((with, loss)) => Err((with, loss, farewell)),
    }
}

async fn both(
    prepared: &Prepared,
    starts: &Starts,
    Surroundings {
        endpoints,
        lobby,
        pace,
        demands,
        ..
    }: Surroundings<'_>,
    fate: &Fate,
    farewell: &Farewell,
) -> Result<Met, (Option<Role>, Loss)> {
    let one = async |neighbour: Role| {
        let met = neighbour_of(prepared, starts, neighbour, (endpoints, lobby), fate, farewell);
        match tokio::time::timeout(pace.meet, met).await {
            Ok(met) => met.map_err(|loss| (Some(neighbour), loss)),
            Err(_) => Err((Some(neighbour), Loss::Silent)),
        }
    };
    let own = prepared.own;
    let ((next, seed_next, from_next), (prev, seed_prev, from_prev)) = tokio::select! {
        both = async { tokio::try_join!(one(own.next()), one(own.prev())) } => both?,
        () = fate.decided() => return Err(fate.first().unwrap_or((None, Loss::Interrupted))),
    };
    let scene = &prepared.scene;
    let binding = Binding::new(
        scene.seal_hash.as_bytes(),
        scene.election.as_str().as_bytes(),
        &scene.box_id.get().to_be_bytes(),
        starts.number.get(),
    );
    Ok(Met {
        channel: NetChannel::new(next, prev, fate.clone(), pace, demands.cloned()),
        fate: fate.clone(),
        seeds: Seeds {
            prev: seed_prev,
            next: seed_next,
        },
        binding,
        revealed: [from_next, from_prev],
    })
}

async fn neighbour_of(
    prepared: &Prepared,
    starts: &Starts,
    neighbour: Role,
    (endpoints, lobby): (&Endpoints, &Lobby),
    fate: &Fate,
    farewell: &Farewell,
) -> Result<(Link, Seed, Contribution), Loss> {
    let own = prepared.own;
    let ours = if neighbour == own.next() {
        &prepared.next
    } else {
        &prepared.prev
    };
    let (opener, outgoing) = Opener::new(neighbour, starts.id, ours, fate, farewell);
    let (link, revealed) = if own < neighbour {
        let endpoint = endpoints[neighbour.slot()].as_ref().ok_or(Loss::NoAddress)?;
        let channel = transport::connect(endpoint)
            .await
            .map_err(|error| Loss::Broken(full_text(&error)))?;
        let mut client = connect::peer(channel.clone());
        let incoming = client
            .session(outgoing)
            .await
            .map_err(|status| Loss::Broken(status.message().to_owned()))?;
        // The connection lives as long as the stream is read.
        let incoming = incoming.into_inner().inspect(move |_| {
            let _ = &channel;
        });
        opener.meet(incoming).await?
    } else {
        let incoming = lobby
            .expect(starts.id, neighbour, outgoing)
            .await
            .ok_or(Loss::Ended)?;
        opener.meet(incoming).await?
    };
    let (scene, number) = (&prepared.scene, starts.number);
    let theirs = Contribution::from_frame(&revealed).ok_or(Loss::Contribution)?;
    if !theirs.opens(&starts.commitment(neighbour, own), scene, number, neighbour, own) {
        return Err(Loss::Contribution);
    }
    let seed = pair_seed(scene, starts.id, (own, ours), (neighbour, &theirs));
    Ok((link, seed, theirs))
}

/// An error with its causes: tonic's own text for a failed connection is only "transport error".
fn full_text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
