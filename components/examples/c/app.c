// A service for WASI 0.2.
#include <stdio.h>
#include <string.h>

#include "http.h"

static struct answer text(uint16_t status, const char *type, const char *body) {
    return (struct answer){status, type, body, strlen(body)};
}

struct answer answer(const struct request *request) {
    if (request->method == GET && strstr(request->path, "/json")) {
        static char json[256];
        const char *name = parameter(request, "name");
        // A name of letters alone needs no escapes.
        size_t letters = name ? strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") : 0;
        snprintf(json, sizeof json, "{\"language\":\"C\",\"name\":\"%.*s\"}", letters < 100 ? (int)letters : 100, name ? name : "");
        return text(200, "application/json", json);
    }
    if (request->method == POST && strstr(request->path, "/echo"))
        return (struct answer){200, request->content_type, request->body, request->body_length};
    return text(404, "text/plain", "not found\n");
}
