//! `cube chat`.

use std::{future::Future, time::Duration};

use attested_client::AttestedChannel;
use proto::inference::v1::{
    ChatSpec, ContentPart, ListModelsRequest, Message, Role, StreamChatRequest, content_part::Part,
    inference_service_client::InferenceServiceClient, model_service_client::ModelServiceClient,
};
use tonic::Status;

use crate::{args::ChatArgs, ask::connect, failure::Failure, input, table};

mod answer;

/// For `started`, and for the first piece of the answer after it: the gateway's own limit for that is 300 s,
/// and it says so.
const FIRST_EVENT: Duration = Duration::from_secs(310);

/// Between two events; the gateway's own limit is 60 s.
const NEXT_EVENT: Duration = Duration::from_secs(75);

/// For the list of models.
const UNARY: Duration = Duration::from_secs(30);

pub(crate) async fn run(args: ChatArgs) -> Result<u8, Failure> {
    let messages = messages(&args)?;
    let (judgement, channel) = connect(&args.gateway).await?;
    let Some(channel) = channel else {
        table::summary(&judgement, &mut table::stderr())?;
        return Ok(judgement.exit_code());
    };
    table::limits(&judgement, &mut table::stderr())?;
    let model = match args.model {
        Some(model) => model,
        None => first_model(channel.clone()).await?,
    };
    table::progress(&format!("asking {} over the verified connection", table::printable(&model)));
    let spec = ChatSpec { model, messages, ..ChatSpec::default() };
    let mut client = InferenceServiceClient::new(channel);
    let call = client.stream_chat(StreamChatRequest { spec: Some(spec) });
    let events = within(FIRST_EVENT, call).await?.into_inner();
    answer::print(events).await?;
    // A whole answer does not make more of the verdict than it was.
    Ok(judgement.exit_code())
}

fn messages(args: &ChatArgs) -> Result<Vec<Message>, Failure> {
    let prompt = match &args.prompt {
        Some(prompt) => prompt.clone(),
        None => String::from_utf8(input::bounded(std::io::stdin(), "the prompt")?)
            .map_err(|_| Failure::Usage("the prompt is not UTF-8".to_owned()))?,
    };
    if prompt.trim().is_empty() {
        return Err(Failure::Usage("the prompt is empty".to_owned()));
    }
    let system = args.system.iter().map(|text| message(Role::System, text));
    Ok(system.chain([message(Role::User, &prompt)]).collect())
}

fn message(role: Role, text: &str) -> Message {
    let part = ContentPart { part: Some(Part::Text(text.to_owned())) };
    Message { role: role.into(), content: vec![part], ..Message::default() }
}

async fn first_model(channel: AttestedChannel) -> Result<String, Failure> {
    let mut client = ModelServiceClient::new(channel);
    let models = within(UNARY, client.list_models(ListModelsRequest::default())).await?.into_inner().models;
    let first = models.into_iter().next();
    let first = first.ok_or_else(|| Failure::Answer("the gateway offers no model".to_owned()))?;
    Ok(first.name.strip_prefix("models/").map_or(first.name.clone(), str::to_owned))
}

async fn within<T>(limit: Duration, call: impl Future<Output = Result<T, Status>>) -> Result<T, Failure> {
    match tokio::time::timeout(limit, call).await {
        Ok(result) => result.map_err(|status| failed(&status)),
        Err(_) => Err(Failure::Answer(format!("the gateway was silent for {} s", limit.as_secs()))),
    }
}

/// The reason is the stable part; the message is the gateway's, made printable.
fn failed(status: &Status) -> Failure {
    let reason = proto::reason_or_code(status);
    Failure::Answer(format!("the answer failed: {reason}: {}", table::printable(status.message())))
}
