#include <stdio.h>

int main(int argc, char **argv) {
    if (argc != 2) {
        fputs("usage: hello NAME\n", stderr);
        return 2;
    }
    printf("Hello, %s!\n", argv[1]);
    return 0;
}
