// The few steps of wasi:http that a small service needs.
#pragma once
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum method { GET, POST, OTHER };

// A request, read whole. The texts end with a zero byte.
struct request {
    enum method method;
    char *path;
    char *content_type;
    char *body;
    size_t body_length;
};

// An answer. Its texts must stay valid until the service returns.
struct answer {
    uint16_t status;
    const char *content_type;
    const char *body;
    size_t body_length;
};

// What the service defines.
struct answer answer(const struct request *request);

// The value of a parameter of the query, or none.
const char *parameter(const struct request *request, const char *name);

#ifdef __cplusplus
}
#endif
