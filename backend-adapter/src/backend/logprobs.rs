//! How probable tokens were, as both kinds of model server say it.

use proto::inference::v1::{TokenCandidate, TokenLogprob};
use serde::Deserialize;

#[derive(Deserialize)]
pub(super) struct Logprob {
    #[serde(flatten)]
    drawn: Candidate,
    #[serde(default)]
    top_logprobs: Vec<Candidate>,
}

#[derive(Deserialize)]
struct Candidate {
    token: String,
    logprob: f32,
    bytes: Option<Vec<u8>>,
}

impl From<Logprob> for TokenLogprob {
    fn from(logprob: Logprob) -> Self {
        let top = logprob.top_logprobs.into_iter().map(TokenCandidate::from).collect();
        Self { drawn: Some(logprob.drawn.into()), top }
    }
}

impl From<Candidate> for TokenCandidate {
    fn from(candidate: Candidate) -> Self {
        let utf8 = candidate.bytes.unwrap_or_default().into();
        Self { text: candidate.token, utf8, logprob: candidate.logprob }
    }
}
