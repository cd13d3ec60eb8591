//! Paths by their pattern: a caller's own words are never a name.

/// What a path that fits no pattern is called.
const UNMATCHED: &str = "unmatched";

/// The paths of a listener, as patterns: literal, or with `{…}` as the last part, which stands for
/// all that follows.
#[derive(Debug, Clone)]
pub struct Routes(Vec<&'static str>);

impl Routes {
    /// `patterns`, the first that fits counts; and the methods of the gRPC `services`.
    pub fn new(patterns: &[&'static str], services: &[&str]) -> Self {
        let methods = proto::access::METHODS.iter().map(|method| method.path);
        let methods = methods.filter(|method| services.contains(&service(method)));
        Self(patterns.iter().copied().chain(methods).collect())
    }

    /// All patterns.
    pub fn patterns(&self) -> &[&'static str] {
        &self.0
    }

    /// The pattern that `path` fits.
    pub(super) fn of(&self, path: &str) -> &'static str {
        let fits = |pattern: &&&'static str| match pattern.split_once('{') {
            Some((prefix, _)) => path.starts_with(prefix),
            None => path == **pattern,
        };
        self.0.iter().find(fits).copied().unwrap_or(UNMATCHED)
    }
}

fn service(method: &str) -> &str {
    method.trim_start_matches('/').split('/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_named_by_its_pattern() {
        let routes = Routes::new(&["/v1/models", "/v1/models/{model}"], &["cube.inference.v1.ModelService"]);
        for (path, name) in [
            ("/v1/models", "/v1/models"),
            ("/v1/models/what-i-asked", "/v1/models/{model}"),
            ("/cube.inference.v1.ModelService/ListModels", "/cube.inference.v1.ModelService/ListModels"),
            ("/cube.inference.v1.ModelService/Other", UNMATCHED),
            ("/cube.inference.v1.InferenceService/Chat", UNMATCHED),
            ("/v1/modelsx", UNMATCHED),
            ("", UNMATCHED),
        ] {
            assert_eq!(routes.of(path), name, "{path}");
        }
    }
}
