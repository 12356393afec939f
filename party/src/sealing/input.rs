//! From a sealed box to the rows of a tally session.

use tally_mpc::{BallotKind, InputError, Shape, TallyInput};

use super::error::SealError;
use super::sealed_box::SealedBox;

impl SealedBox {
    /// How many rows of which kind the box has.
    ///
    /// # Panics
    /// None: Lists bound the rows of a box far below 2^32.
    pub fn shape(&self) -> Shape {
        let seal = self.seal().seal();
        let count =
            |count: u64| u32::try_from(count).expect("three Lists of at most 2^24 digests make the rows");
        Shape {
            voters: seal.voters,
            online: count(seal.counts.online),
            electronic: count(seal.counts.station),
            paper: count(seal.counts.paper),
        }
    }

    /// This party's input of a tally session: the roll with credentials and flags, then the ballots in the Seal's order. Every share is
    /// decrypted here, one by one. Blocks; a million ballots take some seconds.
    ///
    /// # Errors
    /// [`SealError::Store`], [`SealError::Vault`], [`SealError::Lost`], [`SealError::Input`].
    ///
    /// # Security
    /// The input holds all of this party's shares of the box. It is made for one session and erased with it.
    pub fn tally_input(&self) -> Result<TallyInput, SealError> {
        let shape = self.shape();
        let mut input = TallyInput::builder(self.role(), self.layout()?, shape)?;
        let credentials = self.credentials()?;
        let flags = self.live().iter().zip(self.enrolled().iter());
        for ((live, enrolled), (own, next)) in flags.zip(credentials.own.iter().zip(&credentials.next)) {
            input.push_voter(live, enrolled, *own, *next)?;
        }
        let (online, station) = (shape.online as usize, (shape.online + shape.electronic) as usize);
        self.for_each_row(|at, _, shares| {
            let kind = if at < online {
                BallotKind::Online
            } else if at < station {
                BallotKind::Electronic
            } else {
                BallotKind::Paper
            };
            input.push_ballot(kind, shares.this.share(), shares.next.share())?;
            Ok::<_, SealError>(())
        })?;
        Ok(input.finish()?)
    }
}

impl From<InputError> for SealError {
    fn from(error: InputError) -> Self {
        Self::Input(Box::new(error))
    }
}
