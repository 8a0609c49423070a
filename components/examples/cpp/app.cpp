// A service for WASI 0.2 that throws and catches exceptions.
#include <algorithm>
#include <stdexcept>
#include <string>
#include <string_view>

#include "http.h"

namespace {

int destroyed = 0;

struct Counted {
    ~Counted() { ++destroyed; }
};

[[noreturn]] void fail() {
    Counted second;
    throw std::runtime_error("an error on purpose");
}

std::string name_of(const request &request) {
    const char *value = parameter(&request, "name");
    if (!value) throw std::invalid_argument("a name is missing");
    std::string_view rest(value);
    std::string name(rest.substr(0, rest.find('&')));
    auto is_letter = [](unsigned char c) { return (c | 32) >= 'a' && (c | 32) <= 'z'; };
    if (!std::all_of(name.begin(), name.end(), is_letter)) throw std::invalid_argument("a name has letters alone");
    return name;
}

struct answer say(uint16_t status, const char *type, std::string text) {
    static std::string body;
    body = std::move(text);
    return {status, type, body.data(), body.size()};
}

struct answer route(const request &request) {
    std::string_view path(request.path);
    auto is = [&](method method, std::string_view end) {
        return request.method == method && path.substr(0, path.find('?')).ends_with(end);
    };
    if (is(GET, "/json")) return say(200, "application/json", R"({"language":"C++","name":")" + name_of(request) + "\"}");
    if (is(POST, "/echo")) return {200, request.content_type, request.body, request.body_length};
    if (is(GET, "/error")) {
        Counted first;
        fail();
    }
    return say(404, "text/plain", "not found\n");
}

}  // namespace

struct answer answer(const request *request) {
    try {
        return route(*request);
    } catch (const std::exception &error) {
        return say(422, "text/plain", std::string("caught: ") + error.what() + ", " + std::to_string(destroyed) + " destructors\n");
    }
}
