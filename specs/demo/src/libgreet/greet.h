/* Friendly greetings. */
#ifndef GREET_H
#define GREET_H

#include <stddef.h>

#define GREET_VERSION "1.2.0"

/* Writes a greeting for `name` into `buffer` of `size` bytes, always terminated.
 * Returns the length the whole greeting has, as snprintf does. */
int greet(char *buffer, size_t size, const char *name);

#endif
