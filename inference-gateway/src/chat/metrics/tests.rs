use super::*;

/// OpenTelemetry's semantic conventions for generative AI, as of 2026-08; Prometheus spells a
/// dot as `_` and appends the unit, but for units in braces.
#[test]
fn the_names_are_those_of_the_conventions() {
    let prometheus = |name: &str, unit: &str| name.replace('.', "_") + unit;
    for (metric, name, unit) in [
        (DURATION.name, "gen_ai.server.request.duration", "_seconds"),
        (FIRST_TOKEN.name, "gen_ai.server.time_to_first_token", "_seconds"),
        (PER_TOKEN.name, "gen_ai.server.time_per_output_token", "_seconds"),
        (TOKENS.name, "gen_ai.client.token.usage", ""),
    ] {
        assert_eq!(metric, prometheus(name, unit));
    }
    let attributes = ["gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.response.model", "error.type"];
    assert_eq!(DURATION.labels.map(str::to_owned), attributes.map(|name| prometheus(name, "")));
    assert_eq!(TOKENS.labels[3], prometheus("gen_ai.token.type", ""));
}

fn model(name: &str) -> Model {
    Model { name: format!("models/{name}"), ..Model::default() }
}

fn scraped(story: impl FnOnce(&ChatMetrics)) -> String {
    let mut registry = Registry::default();
    story(&ChatMetrics::register(&mut registry));
    registry.scrape().unwrap()
}

fn event(event: Event) -> ChatEvent {
    ChatEvent { event: Some(event), ..ChatEvent::default() }
}

fn caller() -> Caller {
    Caller::new("radiology", None, &crate::callers::salts().unwrap())
}

fn started(model: &str) -> ChatEvent {
    event(Event::Started(proto::inference::v1::Started { model: model.into(), ..Default::default() }))
}

#[test]
fn only_models_of_the_backends_list_are_named() {
    let text = scraped(|metrics| {
        metrics.learn(&[model("listed")]);
        for name in ["listed", "what was asked for"] {
            metrics.begin("chat", &caller(), None).event(&started(name));
        }
    });
    assert!(text.contains("gen_ai_response_model=\"listed\""), "{text}");
    assert!(text.contains("gen_ai_response_model=\"other\"") && !text.contains("asked for"), "{text}");
}

#[test]
fn names_are_bounded() {
    let text = scraped(|metrics| {
        let many: Vec<_> = (0..1000).map(|number| model(&number.to_string())).collect();
        metrics.learn(&many);
        metrics.begin("chat", &caller(), None).event(&started("63"));
        metrics.begin("chat", &caller(), None).event(&started("64"));
    });
    assert!(text.contains("model=\"63\"") && !text.contains("model=\"64\""), "{text}");
}

#[tokio::test(start_paused = true)]
async fn every_way_out_is_told_of() {
    use std::time::Duration;
    let text = scraped_async(async |metrics: &ChatMetrics| {
        let mut whole = metrics.begin("chat", &caller(), None);
        tokio::time::advance(Duration::from_secs(1)).await;
        whole.event(&event(Event::Text(proto::inference::v1::TextDelta { text: "secret".into() })));
        tokio::time::advance(Duration::from_secs(2)).await;
        let usage =
            Usage { prompt_tokens: 7, completion_tokens: 5, cached_tokens: Some(3), ..Usage::default() };
        whole.event(&event(Event::Usage(usage)));
        whole.whole();
        let mut failed = metrics.begin("chat", &caller(), None);
        failed.failed(&proto::status(tonic::Code::DataLoss, proto::reason::BACKEND_TRUNCATED, "cut"));
        drop(metrics.begin("chat", &caller(), None));
    })
    .await;
    for line in [
        "request_duration_seconds_sum{gen_ai_operation_name=\"chat\",gen_ai_provider_name=\"cube\",gen_ai_response_model=\"other\",error_type=\"\"} 3.0",
        "error_type=\"BACKEND_TRUNCATED\"} 0.0",
        "error_type=\"cancelled\"} 0.0",
        "time_to_first_token_seconds_sum{gen_ai_operation_name=\"chat\",gen_ai_provider_name=\"cube\",gen_ai_response_model=\"other\"} 1.0",
        "time_per_output_token_seconds_sum{gen_ai_operation_name=\"chat\",gen_ai_provider_name=\"cube\",gen_ai_response_model=\"other\"} 0.5",
        "gen_ai_token_type=\"input\"} 7.0",
        "gen_ai_token_type=\"output\"} 5.0",
        "gen_ai_token_type=\"cached_input\"} 3.0",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    assert!(!text.contains("secret"));
}

#[test]
fn a_caller_is_charged_on_every_way_out() {
    let piece = || event(Event::Text(proto::inference::v1::TextDelta { text: "secret".into() }));
    let usage = |estimated| {
        let counts = Usage { prompt_tokens: 7, completion_tokens: 5, estimated, ..Usage::default() };
        event(Event::Usage(counts))
    };
    let story = |told: &[ChatEvent], ending: fn(&mut Meter)| {
        scraped(|metrics| {
            let mut meter = metrics.begin("chat", &caller(), None);
            for event in told {
                meter.event(event);
            }
            ending(&mut meter);
        })
    };
    let failed: fn(&mut Meter) = |meter| {
        meter.failed(&proto::status(tonic::Code::DataLoss, proto::reason::BACKEND_TRUNCATED, "cut"));
    };
    let line = |kind: &str, count: &str, tokens: u32| {
        format!(
            "tokens_total{{caller=\"radiology\",gen_ai_token_type=\"{kind}\",count=\"{count}\"}} {tokens}\n"
        )
    };
    let whole = story(&[piece(), usage(false)], Meter::whole);
    assert!(
        whole.contains(&line("input", "exact", 7)) && whole.contains(&line("output", "exact", 5)),
        "{whole}"
    );
    let guessed = story(&[piece(), usage(true)], Meter::whole);
    assert!(guessed.contains(&line("output", "partial", 5)), "{guessed}");
    let logprobs = event(Event::Logprobs(proto::inference::v1::Logprobs::default()));
    for ending in [failed, |_| {}] {
        let cut = story(&[piece(), logprobs.clone(), piece()], ending);
        assert!(cut.contains(&line("output", "partial", 2)), "{cut}");
    }
}

async fn scraped_async(story: impl AsyncFnOnce(&ChatMetrics)) -> String {
    let mut registry = Registry::default();
    story(&ChatMetrics::register(&mut registry)).await;
    registry.scrape().unwrap()
}

#[test]
fn what_no_model_wrote_is_charged_to_nobody() {
    let text = scraped(|metrics| {
        let mut meter = metrics.begin("models", &caller(), None);
        meter.piece();
        meter.whole();
    });
    assert!(!text.contains("radiology"), "{text}");
}
