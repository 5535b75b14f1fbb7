#include "greet.h"

#include <stdio.h>

int greet(char *buffer, size_t size, const char *name)
{
    /* Nobody in particular is greeted as everybody. */
    if (name == NULL || *name == '\0')
        name = "world";
    return snprintf(buffer, size, "Hello, %s!", name);
}
