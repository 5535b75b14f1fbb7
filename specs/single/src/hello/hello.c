#include <stdio.h>

int main(void)
{
    return puts("Hello from a release of one package.") < 0;
}
