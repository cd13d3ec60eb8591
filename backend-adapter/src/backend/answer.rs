//! One answer under way: the rules of its event stream, whatever the dialect.

use std::collections::VecDeque;

use proto::inference::v1::{
    ChatEvent, ChatSpec, FinishReason, Finished, Logprobs, ReasoningDelta, Started, TextDelta, ToolCallDelta,
    ToolCallStarted, Usage, chat_event::Event,
};

use super::{logprobs::Logprob, spec::text_bytes};
use crate::error::BackendError;

/// Most tool calls in one choice: what is remembered of each is bounded, so their number is too.
const MAX_CALLS: usize = 128;

#[derive(Debug)]
pub(super) struct Answer {
    request_id: String,
    model: String,
    /// Bytes of text in the prompt, for the estimate.
    prompt_bytes: usize,
    sequence: u64,
    pieces: u32,
    choices: Vec<Choice>,
    /// Which of them is told of.
    at: usize,
    counts: Counts,
    progress: Progress,
    events: VecDeque<ChatEvent>,
}

#[derive(Debug, PartialEq, Eq)]
enum Progress {
    Waiting,
    Started,
    Complete,
}

/// One of the answers that were asked for.
#[derive(Debug, Default)]
struct Choice {
    calls: Vec<OpenCall>,
    finish: Option<FinishReason>,
}

/// A call that fragments can still belong to, under the names the model server uses.
#[derive(Debug)]
struct OpenCall {
    index: Option<u32>,
    id: Option<String>,
    name: String,
}

/// Which call a fragment belongs to, as the model server says; its text comes beside it.
#[derive(Debug, Default)]
pub(super) struct Fragment {
    pub(super) index: Option<u32>,
    pub(super) id: Option<String>,
    pub(super) name: Option<String>,
}

/// Token counts, as far as the model server gave them.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Counts {
    pub(crate) prompt: Option<u32>,
    pub(crate) completion: Option<u32>,
    pub(crate) cached: Option<u32>,
    pub(crate) reasoning: Option<u32>,
}

impl Counts {
    /// Whether there is one at all.
    pub(crate) fn are_given(&self) -> bool {
        self.prompt.is_some() || self.completion.is_some()
    }

    /// Of an answer that was not read: what is missing is 0, and said to be no count.
    pub(crate) fn usage(self) -> Usage {
        Usage {
            prompt_tokens: self.prompt.unwrap_or_default(),
            completion_tokens: self.completion.unwrap_or_default(),
            cached_tokens: self.cached,
            reasoning_tokens: self.reasoning,
            estimated: self.prompt.is_none() || self.completion.is_none(),
        }
    }
}

impl Answer {
    pub(super) fn new(request_id: &str, spec: &ChatSpec) -> Self {
        Self {
            request_id: request_id.to_owned(),
            model: spec.model.clone(),
            prompt_bytes: text_bytes(spec),
            sequence: 0,
            pieces: 0,
            choices: (0..spec.n.unwrap_or(1)).map(|_| Choice::default()).collect(),
            at: 0,
            counts: Counts::default(),
            progress: Progress::Waiting,
            events: VecDeque::new(),
        }
    }

    /// The first frame came, perhaps with the name of the model that answers.
    pub(super) fn start(&mut self, model: Option<String>) {
        if self.progress == Progress::Waiting {
            self.progress = Progress::Started;
            let model = model.filter(|name| !name.is_empty()).unwrap_or_else(|| self.model.clone());
            self.push(Event::Started(Started { request_id: self.request_id.clone(), model }));
        }
    }

    /// What follows is of the choice with this index.
    pub(super) fn choice(&mut self, index: u32) -> Result<(), BackendError> {
        let known = usize::try_from(index).ok().filter(|at| *at < self.choices.len());
        self.at = known.ok_or(BackendError::Protocol("a choice which was not asked for"))?;
        Ok(())
    }

    /// A piece of the answer; empty ones are dropped.
    pub(super) fn text(&mut self, text: Option<String>) {
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            self.piece(Event::Text(TextDelta { text }));
        }
    }

    /// A piece of the reasoning; empty ones are dropped.
    pub(super) fn reasoning(&mut self, text: Option<String>) {
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            self.piece(Event::Reasoning(ReasoningDelta { text }));
        }
    }

    /// How probable the tokens of the text before were.
    pub(super) fn logprobs(&mut self, tokens: Option<Vec<Logprob>>) {
        if let Some(tokens) = tokens.filter(|tokens| !tokens.is_empty()) {
            let tokens = tokens.into_iter().map(Into::into).collect();
            self.push(Event::Logprobs(Logprobs { tokens }));
        }
    }

    /// A piece of a tool call, or a whole one; continues the call that it belongs to.
    pub(super) fn tool_call(&mut self, fragment: Fragment, arguments: String) -> Result<(), BackendError> {
        let continued = self.choices.get(self.at).and_then(|choice| choice.continued(&fragment));
        let at = match continued {
            Some(at) => at,
            None => self.open(fragment)?,
        };
        self.arguments(at, arguments);
        Ok(())
    }

    /// A whole tool call, which continues none.
    pub(super) fn whole_tool_call(&mut self, call: Fragment, arguments: String) -> Result<(), BackendError> {
        let at = self.open(call)?;
        self.arguments(at, arguments);
        Ok(())
    }

    /// Why generation stopped; told to the reader only once the answer is complete.
    pub(super) fn finish(&mut self, reason: FinishReason) {
        if let Some(choice) = self.choices.get_mut(self.at) {
            choice.finish = Some(reason);
        }
    }

    /// Token counts; the last ones are the answer's.
    pub(super) fn counts(&mut self, counts: Counts) {
        self.counts = counts;
    }

    /// The end marker came.
    pub(super) fn complete(&mut self) -> Result<(), BackendError> {
        let reasons: Vec<_> = self.choices.iter().map(Choice::reason).collect::<Result<_, _>>()?;
        for (at, reason) in reasons.into_iter().enumerate() {
            self.at = at;
            self.push(Event::Finished(Finished { reason: reason.into() }));
        }
        self.at = 0;
        let usage = self.usage();
        self.push(Event::Usage(usage));
        self.progress = Progress::Complete;
        Ok(())
    }

    pub(super) fn has_spoken(&self) -> bool {
        self.pieces > 0
    }

    pub(super) fn is_complete(&self) -> bool {
        self.progress == Progress::Complete
    }

    pub(super) fn take_events(&mut self, into: &mut VecDeque<ChatEvent>) {
        into.append(&mut self.events);
    }

    fn open(&mut self, fragment: Fragment) -> Result<usize, BackendError> {
        let of_all = self.choices.iter().map(|choice| choice.calls.len()).sum::<usize>();
        let id = fragment.id.clone().unwrap_or_else(|| format!("call_{}_{of_all}", self.request_id));
        let choice = self.choices.get_mut(self.at).ok_or(BackendError::Protocol("no choice"))?;
        let (at, name) = choice.open(fragment)?;
        self.piece(Event::ToolCallStarted(ToolCallStarted { index: number(at), id, name }));
        Ok(at)
    }

    fn arguments(&mut self, at: usize, arguments: String) {
        if !arguments.is_empty() {
            self.piece(Event::ToolCallDelta(ToolCallDelta { index: number(at), arguments }));
        }
    }

    /// Exact where the model server counted; else a guess that says it is one: a piece is mostly a
    /// token, and a token of text mostly four bytes.
    fn usage(&self) -> Usage {
        let Counts { prompt, completion, cached, reasoning } = self.counts;
        Usage {
            prompt_tokens: prompt.unwrap_or_else(|| number(self.prompt_bytes.div_ceil(4))),
            completion_tokens: completion.unwrap_or(self.pieces),
            cached_tokens: cached,
            reasoning_tokens: reasoning,
            estimated: prompt.is_none() || completion.is_none(),
        }
    }

    fn piece(&mut self, event: Event) {
        self.pieces = self.pieces.saturating_add(1);
        self.push(event);
    }

    fn push(&mut self, event: Event) {
        let choice = number(self.at);
        self.events.push_back(ChatEvent { sequence: self.sequence, choice, event: Some(event) });
        self.sequence += 1;
    }
}

impl Choice {
    /// Why it ended.
    fn reason(&self) -> Result<FinishReason, BackendError> {
        match (self.finish, self.calls.is_empty()) {
            (None, _) => Err(BackendError::Truncated("it gave no reason for the end")),
            (Some(FinishReason::ToolCalls), true) => {
                Err(BackendError::Protocol("it finished for tool calls and made none"))
            }
            (Some(FinishReason::Stop), false) => Ok(FinishReason::ToolCalls),
            (Some(reason), _) => Ok(reason),
        }
    }

    /// The call that a fragment belongs to: the latest at its index, or the latest of all where it
    /// has none, unless another id or name says that a new call begins (some servers give every
    /// call index 0).
    fn continued(&self, fragment: &Fragment) -> Option<usize> {
        let at_index = |call: &OpenCall| fragment.index.is_none() || call.index == fragment.index;
        let at = self.calls.iter().rposition(at_index)?;
        let call = self.calls.get(at)?;
        let another_id = fragment.id.is_some() && call.id.is_some() && fragment.id != call.id;
        let another_name = fragment.name.as_ref().is_some_and(|name| *name != call.name);
        (!another_id && !another_name).then_some(at)
    }

    /// A new call: its place and its name.
    fn open(&mut self, fragment: Fragment) -> Result<(usize, String), BackendError> {
        let at = self.calls.len();
        if at == MAX_CALLS {
            return Err(BackendError::Protocol("more than 128 tool calls in one answer"));
        }
        let name = fragment.name.ok_or(BackendError::Protocol("a tool call without the function's name"))?;
        self.calls.push(OpenCall { index: fragment.index, id: fragment.id, name: name.clone() });
        Ok((at, name))
    }
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
